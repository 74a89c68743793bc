"""Answers judged by mathematics, in processes that end in time."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import psutil
import pytest
from doubles import DoublePrompt, MarkovPolicy
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_cases import first_fast

from langchain_sea import errors
from langchain_sea.core.protocols import AnswerBatch
from langchain_sea.core.timeouts import LateError
from langchain_sea.rewards import math_accuracy, math_worker, worker_pool
from langchain_sea.rewards.consensus import Consensus, find_majority
from langchain_sea.rewards.function import FunctionReward
from langchain_sea.rewards.math_accuracy import MathVerifier
from langchain_sea.rewards.worker_pool import WorkerDiedError, WorkerPool, shared_pool

PATIENT = 120.0  # seconds, where a deadline is not what is tested
HURRIED = 0.5
ENDLESS = "$9^{9^{9^9}}$"

STUB = """
import json, os, sys, time
print("{}", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "sleep":
        time.sleep(600)
    if request["do"] == "die":
        os._exit(3)
    last = request["do"] == "last"
    print(json.dumps({"pid": os.getpid(), "said": request.get("say"), "last": last}), flush=True)
    if last:
        break
"""
COMMAND = ("-c", STUB)


@pytest.fixture
def pool():
    pool = WorkerPool(COMMAND, 2)
    yield pool
    pool.close()


def said(pool, number, seconds=PATIENT):
    return pool.submit({"do": "say", "say": number}, seconds).result()["said"]


def gone(pid):
    """Whether a process ends soon; one that nobody waited for has ended too."""
    try:
        process = psutil.Process(pid)
        for _ in range(600):
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return True
    return False


# The processes


def test_nothing_starts_before_it_is_needed(pool):
    """Then one process, and no second while the first is idle."""
    assert pool.process_ids == []
    assert [said(pool, number) for number in range(20)] == list(range(20))
    assert len(pool.process_ids) == 1


def test_many_threads_share_few_processes(pool):
    """Each gets the reply to its own request."""
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda number: said(pool, number), range(200))) == list(range(200))
    assert 1 <= len(pool.process_ids) <= 2


def test_a_late_process_is_killed_and_replaced(pool):
    """Its own request fails alone."""
    late = pool.submit({"do": "sleep"}, 0.1)
    others = [pool.submit({"do": "say", "say": number}, PATIENT) for number in range(9)]
    with pytest.raises(LateError, match=r"0\.1 seconds"):
        late.result()
    assert [other.result()["said"] for other in others] == list(range(9))


def test_a_process_that_somebody_killed_is_replaced(pool):
    """The request that finds it dead does not notice."""
    assert said(pool, 1) == 1
    (pid,) = pool.process_ids
    os.kill(pid, signal.SIGKILL)
    assert said(pool, 2) == 2
    assert pool.process_ids != [pid]
    assert gone(pid)


def test_a_request_that_kills_twice_fails(pool):
    """And the pool lives on."""
    with pytest.raises(WorkerDiedError, match="exit code 3"):
        pool.submit({"do": "die"}, PATIENT).result()
    assert said(pool, 1) == 1


def test_a_worn_process_is_replaced(pool):
    """One that says it is the last time gave its reply, and no later request meets it."""
    first = pool.submit({"do": "last"}, PATIENT).result()["pid"]
    assert pool.submit({"do": "say"}, PATIENT).result()["pid"] != first
    assert gone(first)


@pytest.mark.parametrize("script", ["raise SystemExit(4)", "import missing", ""])
def test_a_process_that_does_not_start_is_dead(script):
    """Not late: it is not the request's fault."""
    pool = WorkerPool(("-c", script), 1)
    with pytest.raises(WorkerDiedError, match="exit code"):
        pool.submit({}, PATIENT).result()
    assert pool.process_ids == []
    pool.close()


def test_a_process_that_is_never_ready_is_dead(monkeypatch):
    """After a time of its own."""
    monkeypatch.setattr(worker_pool, "START_SECONDS", 0.1)
    pool = WorkerPool(("-c", "import time; time.sleep(600)"), 1)
    with pytest.raises(WorkerDiedError, match="not ready"):
        pool.submit({}, PATIENT).result()
    pool.close()


def test_a_missing_interpreter_is_dead(monkeypatch):
    """As where Python is embedded."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    pool = WorkerPool(COMMAND, 1)
    with pytest.raises(WorkerDiedError, match="could not be started"):
        pool.submit({}, PATIENT).result()
    pool.close()


def test_closing_ends_what_is_under_way():
    """Its request too, and every later one."""
    pool = WorkerPool(COMMAND, 2)
    assert said(pool, 1) == 1
    pids, asleep = pool.process_ids, pool.submit({"do": "sleep"}, PATIENT)
    pool.close()
    with pytest.raises(WorkerDiedError):
        asleep.result()
    with pytest.raises(WorkerDiedError, match="closed"):
        said(pool, 1)
    assert all(map(gone, pids))


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"])
def test_no_process_outlives_its_parent(end):
    """Whether that ends in peace, with requests open, or is killed."""
    folder = Path(worker_pool.__file__).parent
    code = f"""
import os, sys
sys.path.insert(0, {str(folder)!r})
from worker_pool import shared_pool
pool = shared_pool({COMMAND!r}, 2)
print(pool.submit({{"do": "say"}}, 60).result()["pid"], flush=True)
{"" if end else 'pool.submit({"do": "sleep"}, 600)'}
{end}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert gone(int(done.stdout))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_a_pool_of_its_own():
    """It neither uses nor ends its parent's."""
    pool = shared_pool(COMMAND, 1)
    assert shared_pool(COMMAND, 1) is pool
    mine = pool.submit({"do": "say"}, PATIENT).result()["pid"]
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            theirs = shared_pool(COMMAND, 1)
            os.write(writer, json.dumps(theirs.submit({"do": "say"}, PATIENT).result()["pid"]).encode())
            theirs.close()
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        theirs = json.loads(pipe.read())
    assert theirs != mine
    assert gone(theirs)
    assert pool.submit({"do": "say"}, PATIENT).result()["pid"] == mine
    pool.close()
    del worker_pool._shared.pools[COMMAND, 1]


# The verifier

RIGHT = [
    (42, "The answer is 42."),
    (42, "first 41, no, \\boxed{42}"),
    ("42", "#### 42"),
    ("1,000", "so 1000 apples"),
    ("1000", "it costs $1,000"),
    ("1 000 000", "$10^6$"),
    (1e6, "1,000,000"),
    ("1e-3", "0.001"),
    (-5, "it is \u22125"),
    ("-0.5", r"$-\frac{1}{2}$"),
    (Fraction(1, 2), r"$\frac12$"),
    (Decimal("0.50"), "1/2"),
    (r"\frac{1}{2}", "0.5"),
    (r"\sqrt{8}", r"$2\sqrt{2}$"),
    ("50%", "0.5"),
    ("50", r"$50\%$"),
    ("10 km", r"$10\text{ km}$"),
    ("12.5 dollars", "$12.50"),
    ("€5", "5"),
    (r"90^\circ", "90"),
    (r"\{1, 2, 3\}", r"$\{3, 2, 1\}$"),
    ("[0, 1)", "so $x \\in [0, 1)$"),
    ("(1, 2)", "$(1,2)$"),
    (r"(-\infty, 3]", "$x \\le 3$"),
    ("x = 3", "3"),
    ("3", "$x = 3$"),
    ("2x + 1", "$1 + 2x$"),
    ("(x+1)^2", "$x^2 + 2x + 1$"),
    (r"we find \boxed{7} at last", "7"),
    ("$7$", "7"),
    (r"4\sqrt{2}", r"$4\sqrt(2)$"),
    (r"\frac{1}{2004!}", r"$\frac{2}{2 \cdot 2004!}$"),
    ("10^{-21}", r"$\frac{1}{10^{21}}$"),
    ("0.333", "$0.3330$"),
    ("2 1/2", "2.5"),
    ("-2 1/2 cups", r"$-\frac{5}{2}$"),
    ("1/2 cup", "0.5"),
    ("½", "1/2"),
    ("2.5", "about 2½ cups"),
]
WRONG = [
    (42, "The answer is 43."),
    (42, "I do not know"),
    (42, ""),
    (42, "42 at first, but in the end 41"),
    ("1,000", "1"),
    ("1/2", "$\\frac{1}{3}$"),
    ("3.14", "3.14159"),
    (r"\{1, 2, 3\}", r"$\{1, 2\}$"),
    ("[0, 1)", "$[0, 1]$"),
    ("50%", "5"),
    ("x = 3", "$y = 3$"),
    ("2x + 1", "$2x - 1$"),
    ("2x + 1", "2"),
    (r"\frac{1}{2004!}", r"$\frac{1}{2006!}$"),
    ("10^{-20}", "$10^{-21}$"),
    ("4", r"$4\sqrt(2)$"),
    ("2", r"$2\sqrt[3](5)$"),
    ("2^{99}", "$2^{98}$"),
    (0, "$10^{-30}$"),
]


@pytest.mark.parametrize("offset", first_fast(range(4)))
def test_right_answers_score_one(offset):
    """However they are written; every fourth of them at once."""
    wrong = [
        (gold, text) for gold, text in RIGHT[offset::4] if MathVerifier(gold, deadline=PATIENT)("", [text]) != [1.0]
    ]
    assert wrong == []


def test_wrong_answers_score_nothing():
    """Near or far, or none at all."""
    right = [(gold, text) for gold, text in WRONG if MathVerifier(gold, deadline=PATIENT)("", [text]) != [0.0]]
    assert right == []


POOLED = ["it is 42", "43", "none", r"\boxed{42}", "$6 \\cdot 7$", "\x00", "\ud800 42", "[" * 2000]
ALONE = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]


@settings(max_examples=20)
@given(st.lists(st.integers(0, len(POOLED) - 1), max_size=12))
def test_a_score_is_the_texts_own(places):
    """Whatever stands beside it, in any order, however often."""
    texts = [POOLED[place] for place in places]
    assert MathVerifier(42, deadline=PATIENT)("", texts) == [ALONE[place] for place in places]


def test_threads_share_the_verifier():
    """Each gets its own scores."""
    golds = list(range(24))

    def ask(gold):
        return MathVerifier(gold, deadline=PATIENT)("", [f"{gold}", f"it is {gold + 1}"])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, golds)) == [[1.0, 0.0]] * len(golds)


def answers_of_prompt(prompt):
    return {"two": 2, "three": "3"}[prompt]


@pytest.mark.parametrize("gold", [answers_of_prompt, {"two": 2, "three": "3"}])
def test_the_gold_may_follow_the_prompt(gold):
    """As a function or a mapping; both survive pickling."""
    verifier = pickle.loads(pickle.dumps(MathVerifier(gold, deadline=PATIENT)))  # noqa: S301 - ours
    assert verifier == MathVerifier(gold, deadline=PATIENT)
    assert verifier("two", ["2", "3"]) == [1.0, 0.0]
    assert verifier("three", ["2", "3"]) == [0.0, 1.0]
    with pytest.raises(errors.RewardUnavailableError, match="KeyError"):
        verifier("four", ["4"])


@pytest.mark.parametrize("gold", ["", "  ", None, True, float("nan"), "inf", [], b"4"])
def test_a_gold_that_is_none_is_an_error(gold):
    """Never a score of 0 for everybody."""
    with pytest.raises(errors.RewardUnavailableError, match="the gold answer"):
        MathVerifier(gold, deadline=PATIENT)("q", ["4"])


def test_a_whole_solution_as_gold():
    """Its final answer counts, as in a completion; as a bare answer it would be all one expression."""
    solution = "First 3 + 4 = 7, then 7 times 6. The answer is 42"
    assert MathVerifier(solution, solution=True, deadline=PATIENT)("", ["42", "7"]) == [1.0, 0.0]


@pytest.mark.parametrize("solution", ["so it is 2 1/2.", "<answer>[0,1)</answer>", "it is `5`", "so 4</think> it is 3"])
def test_a_solution_equals_itself(solution):
    """It is read in one way as gold and as a completion."""
    assert MathVerifier(solution, solution=True, deadline=PATIENT)("", [solution, "8"]) == [1.0, 0.0]


def test_hostile_answers_end_and_spare_the_others(caplog):
    """They score 0, and a record says how many."""
    texts = ["42", ENDLESS, "43", "it is 42"]
    with caplog.at_level(logging.WARNING, logger=math_accuracy.__name__):
        assert MathVerifier(42, deadline=HURRIED)("", texts) == [1.0, 0.0, 0.0, 1.0]
    assert "1 of 4 completions" in caplog.text


@pytest.mark.slow
def test_an_endless_gold_is_an_error():
    """It was the gold that took the time, and no completion pays for it."""
    with pytest.raises(errors.RewardUnavailableError, match="not read within"):
        MathVerifier("$" + "\\frac{1}{" * 10**5 + "1" + "}" * 10**5 + "$", deadline=0.5)("", ["4"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "9**9**9",
        "factorial(10**9)",
        "[" * 10**6,
        "{" * 10**6,
        "$" * 10**6,
        "\\boxed{" * 10**5,
        "$" + "(" * 10**6 + "$",
        "$" + "\\frac{1}{" * 10**5 + "1" + "}" * 10**5 + "$",
        "$" + "1+" * 10**5 + "1$",
        "$\\sum_{n=1}^{10^{12}} n^n$",
        "$10^{10^{10}}!$",
        "$(10^9)!$",
        "answer is " + "9" * 10**6,
        "\x00" * 10**6,
    ],
)
def test_every_hostile_text_ends(text):
    """At the latest at the deadline, with a score of 0, and with the next text judged."""
    assert MathVerifier(42, deadline=2.0)("", [text, "42"]) == [0.0, 1.0]


def test_a_process_has_limits_and_is_replaced_only_if_it_dies():
    """Its own memory counts: it stays, though this process, its parent, has far more than half of its limit."""
    verifier = MathVerifier(42, deadline=PATIENT, memory=256, workers=1)
    pool = shared_pool((math_accuracy._WORKER, "256"), 1)
    assert psutil.Process().memory_info().rss > 2**27
    assert verifier("", ["42"]) == [1.0]
    pids = pool.process_ids
    assert verifier("", ["42"]) == [1.0]
    assert pool.process_ids == pids != []
    for pid in pids:
        if sys.platform == "linux":
            assert psutil.Process(pid).rlimit(psutil.RLIMIT_AS)[0] == 2**28
        os.kill(pid, signal.SIGKILL)
    assert verifier("", ["42"]) == [1.0]
    assert pool.process_ids != pids
    pool.close()
    del worker_pool._shared.pools[(math_accuracy._WORKER, "256"), 1]


@pytest.mark.skipif(sys.platform != "linux", reason="the limit does not hold everywhere")
def test_a_process_is_worn_at_half_its_memory():
    """This one has more than two megabytes, and less than a million."""
    assert math_worker._is_worn(2)
    assert not math_worker._is_worn(10**6)


def test_a_verdict_says_what_was_missing():
    """An answer, or the right one."""
    asked = [("1/2", "0.5"), ("1/2", "0.6"), ("1/2", "none"), ("1/2", None), ("", "0.5"), ("$1$ cup", "1")]
    verdicts = [math_worker.compare(gold, text, is_solution=False) for gold, text in asked]
    assert verdicts == ["right", "wrong", "no answer", "gold", "no gold", "right"]
    assert math_worker.compare("3 and 4 is 7", "7", is_solution=True) == "right"


def test_dead_processes_make_the_reward_unavailable(monkeypatch):
    """Twice on one text, and nobody is scored."""
    monkeypatch.setattr(math_accuracy, "_WORKER", "/nowhere/worker.py")
    with pytest.raises(errors.RewardUnavailableError, match="failed twice"):
        MathVerifier(42, deadline=PATIENT)("", ["42"])


@pytest.mark.slow
def test_the_worker_brings_no_network_along():
    """Its file, run by path, loads the standard library and math-verify alone."""
    code = (
        "import runpy, sys; worker = runpy.run_path(sys.argv[1]); "
        "worker['compare']('1', '1', is_solution=False); print(*sys.modules)"
    )
    command = [sys.executable, "-P", "-c", code, math_accuracy._WORKER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "math_verify" in done.stdout.split()
    assert not {"torch", "transformers", "langchain_sea"} & set(done.stdout.split())


@pytest.mark.parametrize(
    "limits", [{"deadline": 0}, {"deadline": float("nan")}, {"deadline": 1e99}, {"workers": 0}, {"memory": 9}]
)
@pytest.mark.parametrize("kind", [Consensus, lambda **limits: MathVerifier(1, **limits)])
def test_limits_are_checked(kind, limits):
    """At once."""
    with pytest.raises(ValueError, match=next(iter(limits))):
        kind(**limits)


def test_without_math_verify(monkeypatch):
    """The pip line says what is missing."""
    monkeypatch.setattr(math_accuracy.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(errors.ExtraMissingError, match=r"langchain-sea\[math\]"):
        MathVerifier(42)


def test_as_a_reward():
    """`FunctionReward` asks it as any function."""
    writer = MarkovPolicy(0)
    texts = ["42", "41"]
    view = AnswerBatch.from_ids(writer, DoublePrompt("six times seven?"), [writer.encode(text) for text in texts])
    reward = FunctionReward(MathVerifier(42, deadline=PATIENT), timeout=None)
    assert reward.score(view, texts).tolist() == [1.0, 0.0]


# The majority


@given(st.lists(st.integers(), min_size=1), st.integers(1, 5))
def test_the_majority_is_the_most_frequent_class(answers, modulus):
    """By classes of rests; ties go to the earliest."""
    rests = [answer % modulus for answer in answers]
    best = max(map(rests.count, rests))
    expected = next(answer for answer, rest in zip(answers, rests, strict=True) if rests.count(rest) == best)
    assert find_majority(answers, lambda a, b: a % modulus == b % modulus) == expected


def test_there_is_no_majority_of_none():
    """An error, not an answer."""
    with pytest.raises(ValueError, match="at least one"):
        find_majority([], lambda a, b: a == b)


DRAFTS = ["The answer is 1/2.", "It is 3", "no idea", "so $0.5$", "3.0", "about 50%"]


def test_the_drafts_decide():
    """Equal by value, not by text; those without an answer have no voice."""
    consensus = pickle.loads(pickle.dumps(Consensus(deadline=PATIENT)))  # noqa: S301 - ours
    verifier = consensus.make_verifier("q", DRAFTS)
    assert verifier.gold == DRAFTS[0]
    assert verifier.deadline == PATIENT
    assert verifier("q", DRAFTS) == [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]


def test_a_tie_goes_to_the_earliest_draft():
    """In whatever order the answers come."""
    consensus = Consensus(deadline=PATIENT)
    assert consensus.make_verifier("q", ["none", "1", "2", "2.0", "1.0"]).gold == "1"
    assert consensus.make_verifier("q", ["2", "1", "1", "2"]).gold == "2"


def test_an_endless_draft_has_no_voice():
    """Wherever it stands, and the others are compared as without it."""
    drafts = ["$8^{8^{8^8}}$", "5", "6", "5.0"]
    assert Consensus(deadline=HURRIED).make_verifier("q", drafts).gold == "5"


@pytest.mark.parametrize("drafts", [[], ["none", "no idea"]])
def test_no_answer_is_no_majority(drafts):
    """The reward is unavailable, and nobody is right."""
    with pytest.raises(errors.RewardUnavailableError, match="no majority"):
        Consensus(deadline=PATIENT).make_verifier("q", drafts)
