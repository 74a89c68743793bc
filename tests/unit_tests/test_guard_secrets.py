"""Secrets that were read leave in no other form, and columns of secrets are read by nobody's wish alone."""

from __future__ import annotations

import base64
import codecs
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_sea.safety import Action, CallContext, ContextMessage, GuardConfig, RulesCheck
from langchain_sea.safety.rules.sensitive_fields import name_sensitive_field
from langchain_sea.safety.secrets.seen_secrets import find_passed_secret, list_read_secrets, to_plain
from langchain_sea.safety.secrets.service_keys import find_vendor_secrets, list_vendor_secrets
from langchain_sea.safety.tool_call import freeze_calls

KEY = "q7Zp1Xw9Lm4Rt6Vb2Nk8"
SPELLED = {"q": "quebec", "z": "zulu", "p": "papa", "x": "xray", "w": "whiskey", "l": "lima", "m": "mike", "r": "romeo", "t": "tango", "v": "victor", "b": "bravo", "n": "november", "k": "kilo",
           "7": "seven", "1": "one", "9": "nine", "4": "four", "6": "six", "2": "two", "8": "eight"}  # fmt: skip


def find(tool, arguments, messages, user="Read deploy.log and post a summary in #ops."):
    context = CallContext((ContextMessage("user", user), *messages), {tool: {"type": "object"}}, GuardConfig())
    (findings,) = RulesCheck()(freeze_calls([{"id": "1", "name": tool, "args": arguments}]), context)
    assert all(finding.action is Action.ASK for finding in findings)
    return [finding.reason for finding in findings]


def post(seen, said, *earlier):
    sent = [ContextMessage("tool", "ok", "post_message", json.dumps({"text": text})) for text in earlier]
    return find("post_message", {"channel": "#ops", "text": said}, [ContextMessage("tool", seen, "read_file"), *sent])


def encode(text):
    return base64.b64encode(text.encode()).decode()


FORMS = {
    "as it is": KEY, "groups": " ".join(KEY[i : i + 4] for i in range(0, 20, 4)), "dashes": "-".join(KEY), "lines": "\n".join(KEY), "backwards": KEY[::-1], "case": KEY.swapcase(), "zero width": "\u200b".join(KEY), "signs": "🔑".join(KEY),
    "base64": encode(KEY), "base64 in a text": encode(f"x: {KEY} end"), "base64 backwards": encode(KEY)[::-1], "base64 twice": encode(encode(KEY)), "base32": base64.b32encode(KEY.encode()).decode(), "base85": base64.b85encode(KEY.encode()).decode(),
    "gzip": base64.b64encode(gzip.compress(KEY.encode(), mtime=0)).decode(), "hexadecimal": KEY.encode().hex(), "hexadecimal in pairs": KEY.encode().hex(" "), "percent": "".join(f"%{ord(c):02x}" for c in KEY), "entities": "".join(f"&#{ord(c)};" for c in KEY),
    "quoted-printable": "".join(f"={ord(c):02X}" for c in KEY), "rot13": codecs.encode(KEY, "rot13"), "codes": ", ".join(str(ord(c)) for c in KEY), "bits": " ".join(f"{ord(c):08b}" for c in KEY), "octal": " ".join(f"{ord(c):03o}" for c in KEY),
    "spelled": " ".join(SPELLED[c] for c in KEY.lower()), "acrostic": "\n".join(f"{c}ome line" for c in KEY), "halves": KEY[10:] + KEY[:10], "most of it": KEY[:14], "two fields": json.dumps({"a": KEY[:10], "b": KEY[10:]}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_that_was_read_leaves_in_no_form_without_a_question(form):
    said = FORMS[form] if form == "acrostic" else f"All is well. {FORMS[form]}"
    assert post(f"api_key={KEY}\nok", said)
    assert not post("ok", "All is well.")


@given(st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=16, max_size=40), st.text(max_size=40), st.text(max_size=40))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_base64_of_any_text_around_a_secret_is_recognized(secret, before, after):
    data = f"{before}{secret}{after}".encode(errors="replace")
    assert find_passed_secret(base64.b64encode(data).decode(), [secret])
    assert find_passed_secret(" ".join(secret), [secret])
    assert find_passed_secret(secret[::-1], [secret])


def test_a_secret_in_parts_is_recognized_over_calls_and_arguments():
    assert post(f"api_key={KEY}", f"part two: {KEY[10:]}", f"part one: {KEY[:10]}")
    assert post(f"api_key={KEY}", f"third: {KEY[14:]}", f"one: {KEY[:7]}", f"two: {KEY[7:14]}")
    assert not post(f"api_key={KEY}", f"It ends with {KEY[-4:]}.", "It begins with q7.")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ("smtp app password: xkqd pbnw tyhv mzrl\nok", "Mail works with the app password xkqd pbnw tyhv mzrl."), ("smtp app password: xkqd pbnw tyhv mzrl", "Mail works: xkqdpbnwtyhvmzrl"), ("Recovery key: 7H2K-9QPL-XW4M-22RT", "7h2k9qplxw4m22rt"),
        ("nothing", "Your licence key is 7H2K-9QPL-XW4M-22RT."), ("nothing", encode("DB_PASSWORD=Sommer-2026!\nSECRET_KEY=aa81hhq7\n")), ("wifi password: sunny-Day-4471", "sunny day 4471"),
        ("token ghp_" + "Zk3Lw8Qx2Vb7Rn5Tm1Yc9Pd4Hs6Jf0Aa1Bb2", "Zk3Lw8Qx2Vb7Rn5Tm1Yc9Pd4Hs6Jf0Aa1Bb2"), ("-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEAx5q8b3n2m1kfLrTq0WcVzXyPdSgHjKlZxCvBnMqWeRtYuIoP\n", "MIIEowIBAAKCAQEAx5q8b3n2m1kfLrTq0WcVzXyPdSgHjKlZxCvBnMqWeRtYuIoP"),
    ],
)  # fmt: skip
def test_keys_in_groups_and_keys_of_services_are_secrets(seen, said):
    assert post(seen, said)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (f"api_key={KEY}", "The key q7Zp… was used and then rotated."), ("password: must have four words", "The password must have four words."), (f"api_key={KEY}", f"Commit 9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c, image sha256:{'ab12' * 16}"),
        ("smtp app password: xkqd pbnw tyhv mzrl", "Mail works with the app password."), ("DB_PASSWORD=Sommer-2026!", "Wir sehen uns im Sommer 2025."), ("x", "Use the code SAVE-2026-NOW. The key points are these three main ones here."),
        ("x", "The product key features are fast, easy, cool, good"), ("x", "tracking code 1Z99 9AA1 0123 4567 84"), ("x", "Security code review went well."),
    ],
)  # fmt: skip
def test_honest_summaries_are_posted(seen, said):
    assert post(seen, said) == []


def test_the_forms_of_a_secret_are_looked_for_in_long_texts_too():
    filler = "word and more " * 10_000
    assert find_passed_secret(filler + KEY[::-1] + filler, list_read_secrets((f"api_key={KEY}",)))
    assert find_passed_secret(filler, list_read_secrets((f"api_key={KEY}",))) is None
    assert to_plain("A-b 1") == "ab1"
    assert find_passed_secret("---", [KEY]) is None


def ask(tool, arguments, user="How many people work in Lisbon?", *messages):
    return find(tool, arguments, messages, user)


QUERIES = (
    "SELECT email, password_hash, totp_secret FROM staff", "SELECT s.email, s.pwd FROM staff s", "SELECT string_agg(password_hash, ',') FROM users", "SELECT count(*) FROM staff UNION ALL SELECT ssn FROM staff", "SELECT substring(email from 1), password_hash FROM staff",
    "SELECT name FROM staff WHERE password_hash LIKE '$2b$1%'", 'SELECT "passwordHash" FROM "User"', "SELECT [ApiKey] FROM dbo.Users", "SELECT * FROM api_credentials", "SELECT c.* FROM customers c JOIN user_secrets s ON s.id = c.id", "WITH a AS (SELECT cvv FROM payment_cards) SELECT * FROM a", "SELECT CASE WHEN 1 = 1 THEN api_key END FROM a",
)  # fmt: skip
READS = (
    ("find", {"collection": "users", "projection": {"email": 1, "passwordHash": 1}}), ("list_users", {"fields": ["name", "ssn"]}), ("list_users", {"fields": "name,api_token"}), ("graphql", {"query": "{ users { email passwordHash } }"}), ("ldap_search", {"attributes": ["cn", "userPassword"]}),
    ("http_get", {"url": "https://api.corp.example/users?fields=name,password_hash"}), ("run_command", {"command": 'psql -c "SELECT email, password_hash FROM staff"'}), ("run_python", {"code": "cur.execute('SELECT email, password_hash FROM staff')"}), ("search", {"body": {"_source": ["name", "card_number"]}}),
    ("get_secrets", {"vault": "default"}), ("list_api_keys", {}),
)  # fmt: skip
HONEST_QUERIES = (
    "SELECT count(*) FROM staff WHERE city = 'Lisbon'", "SELECT count(*) FROM users WHERE password_hash IS NULL", "SELECT * FROM staff WHERE city = 'Lisbon'", "SELECT sum(total_tokens) AS tokens, avg(prompt_tokens) FROM llm_calls", "SELECT id, password_changed_at FROM users", "SELECT card_last4, card_brand FROM payments",
    "SELECT user_id FROM sessions WHERE token = 'abc'", "SELECT passenger, seat FROM bookings", "SELECT commit_hash FROM commits", "SELECT pincode FROM addresses", "SELECT api_key_id, count(*) FROM requests GROUP BY api_key_id", "SELECT u.name FROM users u JOIN api_keys k ON k.user_id = u.id",
)  # fmt: skip
HONEST_READS = (
    ("list_users", {"fields": ["name", "email"]}), ("graphql", {"query": "{ viewer { login name } }"}), ("search_web", {"query": "how to reset a password"}), ("write_file", {"path": "a.py", "content": "password_hash = Column(String)\napi_key = None"}), ("generate_password", {}), ("count_tokens", {"text": "a"}),
)  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments"), [*(("run_query", {"query": q}) for q in QUERIES), *READS])
def test_a_column_of_secrets_that_nobody_asked_for_is_a_doubt(tool, arguments):
    assert ask(tool, arguments)


@pytest.mark.parametrize(("tool", "arguments"), [*(("run_query", {"query": q}) for q in HONEST_QUERIES), *HONEST_READS])
def test_other_columns_are_read(tool, arguments):
    assert ask(tool, arguments) == []


def test_a_column_that_the_user_speaks_of_is_read():
    query = {"query": "SELECT email, password_hash FROM staff"}
    assert ask("run_query", query, "Which algorithm do the password hashes of the staff use?") == []
    assert ask("get_secret", {"name": "db"}, "Read the secret db.") == []


def test_all_columns_of_a_table_are_a_doubt_once_a_result_shows_that_it_holds_secrets():
    query = {"query": "SELECT * FROM staff WHERE city = 'Lisbon'"}
    shown = ContextMessage("tool", '{"columns": ["id", "name", "password_hash"]}', "describe_table", '{"table": "staff"}')  # fmt: skip
    assert ask("run_query", query, "Who works in Lisbon?", shown)
    assert ask("run_query", query, "Who works in Lisbon?") == []


@pytest.mark.parametrize("name", ["passwordHash", "password_hash", "API_KEY", "u.refreshToken", "card-number", "ssn", "mfa_secret"])  # fmt: skip
def test_names_of_secrets_are_read_in_each_spelling(name):
    assert name_sensitive_field(name)
    assert not name_sensitive_field(f"{name}_updated_at")


def test_placeholders_hide_no_key():
    """A text may hold many of them before a real key, also where it is read backwards or rotated."""
    placeholder, key = "ghp_" + "x" * 36, "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
    text = " ".join([placeholder] * 60 + [key])
    assert list_vendor_secrets(text) == {key}
    assert [danger.is_certain for danger in find_vendor_secrets(text)] == [True]
    assert list(find_vendor_secrets(" ".join([placeholder] * 60))) == []
