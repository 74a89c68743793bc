"""What a user's mistake ends in: an error that names the mistake, and the line of the user's own function."""

from __future__ import annotations

import asyncio
import traceback

import pytest
from doubles import SMALL_PRESET
from langchain_core.messages import HumanMessage
from pydantic import ValidationError

from langchain_sea import Budget, SEAChatModel, load_gate, load_model, make_energy, refine
from langchain_sea.chat.errors import raise_langchain_error
from langchain_sea.cli import main
from langchain_sea.engine import latent_refiner
from langchain_sea.engine.baselines import BestOfN, search
from langchain_sea.engine.speed_model import SpeedModel
from langchain_sea.errors import RewardUnavailableError, WeightsCorruptError, WeightsNotFoundError
from langchain_sea.evaluation import Evaluation, require_methods
from langchain_sea.models.loading import devices
from langchain_sea.plans import find_plan
from langchain_sea.presets import find_preset
from langchain_sea.rewards import registry
from langchain_sea.safety import CallContext, ContextMessage, GuardConfig, GuardPipeline, ToolRules
from langchain_sea.safety.tool_call import freeze_calls
from langchain_sea.serving.config import ServerConfig


def divide(prompt, completions):
    """A reward or a gate with a mistake in it."""
    return [1 / len(prompt[:0]) for _ in completions]


class Dividing:
    """The same mistake in an object."""

    def score(self, view, texts):
        return divide("", texts)


def make_model(**settings):
    return SEAChatModel(model="tiny", preset=SMALL_PRESET, plan="tiny", max_tokens=8, max_retries=0, **settings)


def refine_once(reward):
    policy = load_model("tiny")
    prompt = policy.prompt([{"role": "user", "content": "What is 1 + 2?"}])
    (found,) = refine([prompt], energy=make_energy(policy, reward), preset=SMALL_PRESET, max_new_tokens=8)
    raise found.failure


CALLS = {
    "invoke": lambda model: model.invoke("1"),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("1")),
    "stream": lambda model: list(model.stream("1")),
    "batch": lambda model: model.batch(["1", "2"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("reward", [divide, Dividing()], ids=["function", "object"])
def test_an_error_of_a_reward_shows_the_user_s_own_line(call, reward):
    """Whichever thread called the reward."""
    with pytest.raises(RewardUnavailableError, match="ZeroDivisionError: division by zero") as raised:
        call(make_model(rewards=[reward], on_reward_error="error"))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert "1 / len(prompt[:0])" in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("reward", [divide, Dividing()], ids=["function", "object"])
def test_the_failure_of_a_refinement_shows_it_too(reward):
    """`refine` raises nothing by itself."""
    with pytest.raises(RewardUnavailableError) as raised:
        refine_once(reward)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("settings", [{"rewards": [divide]}, {"gate": divide}], ids=["reward", "gate"])
def test_where_the_call_goes_on_the_log_shows_it(settings, caplog):
    """A function that fails leaves the draft, a gate that fails a refusal."""
    make_model(**settings).invoke("What is 2 + 2?")
    assert "1 / len(prompt[:0])" in caplog.text


@pytest.mark.parametrize("kind", [WeightsCorruptError, WeightsNotFoundError, RewardUnavailableError])
def test_an_error_keeps_its_cause(kind):
    """Also where LangChain has no error of this meaning, and the error is raised as it is."""
    cause, error = OSError("disk"), kind("unreadable")
    error.__cause__ = cause
    with pytest.raises(kind) as raised:
        raise_langchain_error(error)
    shown = "".join(traceback.format_exception(raised.value))
    assert "OSError: disk" in shown


class DividingCheck:
    """The same mistake in a check of tool calls."""

    name = "own"
    uses_model = False

    def __call__(self, calls, context):
        return divide("", calls)


@pytest.mark.parametrize(("fail_open", "outcome"), [((), "unavailable"), (("own",), "allowed")])
def test_the_log_shows_the_line_of_a_check(fail_open, outcome, caplog):
    """Whether its failure stops the call or not."""
    policy = GuardConfig(tools={"read": ToolRules(fail_open=fail_open)})
    pipeline = GuardPipeline(policy=policy, checks=[DividingCheck()])
    context = CallContext((ContextMessage("user", "Read it."),), {"read": {"type": "object"}}, policy)
    (decision,) = pipeline(freeze_calls([{"id": "1", "name": "read", "args": {}, "type": "tool_call"}]), context)
    assert decision.outcome == outcome
    assert "1 / len(prompt[:0])" in caplog.text


@pytest.fixture
def no_weights(monkeypatch):
    """A misspelt name must be refused before anything is looked for."""

    def load(*_args, **_kwargs):
        raise AssertionError("it was looked for")

    monkeypatch.setattr(registry, "load_judge", load)


LOOKUPS = {
    "reward": (lambda: make_energy(load_model("tiny"), ["tinny"]), "tiny"),
    "one reward": (lambda: make_energy(load_model("tiny"), "safty"), "safety"),
    "gate": (lambda: load_gate("safty"), "safety"),
    "preset": (lambda: make_energy(load_model("tiny"), preset="defualt"), "default"),
    "plan": (lambda: find_plan("smal"), "small"),
    "method": (lambda: require_methods(["draft", "best_of_m"]), "best_of_n"),
    "dtype": (lambda: load_model("tiny", dtype="float-32"), "float32"),
    "quantization": (lambda: load_model("tiny", quantization="int-8"), "int8"),
    "preset of a server": (lambda: ServerConfig.from_table({"presets": ["papr"]}), "paper"),
}


@pytest.mark.parametrize(("look_up", "nearest"), LOOKUPS.values(), ids=LOOKUPS)
def test_every_look_up_suggests_the_nearest_name(look_up, nearest):
    """Wherever there is a list of names."""
    load_model("tiny")
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        look_up()


@pytest.mark.parametrize(("reward", "nearest"), [("safty", "safety"), ("tinny", "tiny")])
def test_the_command_line_suggests_it_too(reward, nearest, no_weights, capsys):
    assert main(["ask", "Hi", "--model", "tiny", "--reward", reward]) != 0
    assert f"did you mean '{nearest}'" in capsys.readouterr().err


def test_a_misspelt_method_is_refused_before_a_question_is_answered(tmp_path):
    """And not left out."""
    policy = load_model("tiny")
    evaluation = Evaluation(policy=policy, terms=make_energy(policy).terms)
    with pytest.raises(ValueError, match="did you mean 'draft'"):
        evaluation.run([], ["drafft"], tmp_path / "rows.jsonl")


@pytest.mark.parametrize("look_up", [find_plan, find_preset, load_model])
@pytest.mark.parametrize("value", [3, None, {}])
def test_what_is_no_name_is_said_to_be_none(look_up, value):
    """Also where it cannot be a key of a dictionary."""
    with pytest.raises((ValueError, TypeError), match=rf"^(no (plan|preset)|load_model takes).*{value!r}"):
        look_up(value)


MESSAGES = [{"role": "user", "content": "What is 1 + 2?"}]


@pytest.fixture(scope="module")
def policy():
    return load_model("tiny")


@pytest.mark.parametrize("call", [refine, lambda prompts, **rest: search(prompts, BestOfN(count=1), **rest)])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompts": ["text"]}, "'text' is no prompt"),
        ({"prompts": "text"}, "'text' is no list of prompts"),
        ({"prompts": None}, "None is no list of prompts"),
        ({"energy": ["tiny"]}, "is no energy.*make_energy"),
        ({"budget": {"max_time": 1}}, r"is no budget.*Budget\("),
    ],
)
def test_arguments_of_another_type_are_refused_with_an_example(policy, call, changes, words):
    """In place of an error of whatever reads them first."""
    arguments = {"prompts": [policy.prompt(MESSAGES)], "energy": make_energy(policy), "budget": Budget()} | changes
    with pytest.raises(TypeError, match=words):
        call(arguments.pop("prompts"), **arguments)


def test_a_single_prompt_is_no_list_and_a_text_no_draft(policy):
    prompt, energy = policy.prompt(MESSAGES), make_energy(policy)
    with pytest.raises(TypeError, match=r"no list of prompts.*refine\(\[policy"):
        refine(prompt, energy=energy)
    with pytest.raises(TypeError, match=r"holds text.*policy\.encode"):
        refine([prompt], energy=energy, drafts=["3"])


@pytest.mark.parametrize(
    "messages", ["text", ["text"], [("user", "text")], MESSAGES[0], [{"content": "a"}], [HumanMessage("a")], 3]
)
def test_a_conversation_is_a_list_of_dicts(policy, messages):
    with pytest.raises(TypeError, match=r'a list of dicts.*\[\{"role": "user"'):
        policy.prompt(messages)


def test_an_energy_needs_a_loaded_model():
    with pytest.raises(TypeError, match=r"'tiny'.*make_energy\(load_model\("):
        make_energy("tiny")


@pytest.mark.parametrize("rewards", [3, {"safety": 2.0}])
def test_what_is_no_reward_is_refused(policy, rewards):
    """The weights of a dict would be lost."""
    with pytest.raises(TypeError, match=r"is not a reward.*RewardTerm\("):
        make_energy(policy, rewards)
    with pytest.raises(ValueError, match=r"the reward .* is no name"):
        SEAChatModel(model="tiny", rewards=rewards)


@pytest.mark.parametrize("stop", [3, [3]])
def test_stop_strings_are_strings(stop):
    with pytest.raises(ValueError, match="must be a string or a list of strings"):
        SEAChatModel(model="tiny", stop=stop)


@pytest.fixture
def two_cards(monkeypatch):
    """A machine with two GPUs."""
    monkeypatch.setattr(devices, "_count", lambda kind: 2 if kind == "cuda" else 0)


@pytest.fixture
def no_card(monkeypatch):
    """A machine without a GPU."""
    monkeypatch.setattr(devices, "_count", lambda _: 0)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cuda", r"torch .* Devices here: cpu\. Leave device out"),
        ("cuda:7", r"torch .* Devices here: cpu\."),
        ("mps", r"no device of the kind mps.* Devices here: cpu\."),
        ("gpu", r"no device that torch knows\. Devices here: cpu\."),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(no_card, device, words):
    """Before weights are read."""
    with pytest.raises(ValueError, match=words):
        load_model("tiny", device=device)
    with pytest.raises(ValueError, match=words):
        SEAChatModel(model="tiny", device=device).invoke("1")


def test_there_may_be_fewer_cards_than_the_number_says(two_cards):
    with pytest.raises(ValueError, match=r"there are 2 such devices\. Devices here: cpu, cuda:0, cuda:1\."):
        devices.require_device("cuda:7")
    devices.require_device("cuda:1")


@pytest.mark.parametrize("device_map", ["cuda:7", {"": 7}, {"model": "cuda:0", "lm_head": "gpu"}])
def test_the_devices_of_a_map_are_checked_too(two_cards, device_map):
    with pytest.raises(ValueError, match="Devices here"):
        devices.require_device_map(device_map)


@pytest.mark.parametrize("device_map", ["auto", "sequential", {"": "cpu"}, {"model": 1, "lm_head": "disk"}])
def test_other_maps_are_left_to_transformers(two_cards, device_map):
    devices.require_device_map(device_map)


SETTINGS = {
    "unknown": ({"max_tokenz": 3}, "there is no option 'max_tokenz'; did you mean 'max_tokens'?"),
    "nested": ({"budget": {"max_tme": 5}}, "there is no option 'max_tme'; did you mean 'max_time'?"),
    "no near name": ({"energy": {"betta": 1}}, "there is no option 'energy'; the options are budget"),
    "choice": ({"on_timeout": "beest"}, "Input should be 'best' or 'error', and is 'beest'; did you mean 'best'?"),
    "number": ({"max_tokens": "three"}, "max_tokens\n  Input should be a valid integer"),
    "plan": ({"plan": "smal"}, "did you mean 'small'?"),
}


@pytest.mark.parametrize(("settings", "words"), SETTINGS.values(), ids=SETTINGS)
def test_a_wrong_setting_is_named_without_noise(settings, words):
    """Without pydantic's links, and without all other settings, which may hold secrets."""
    with pytest.raises(ValidationError) as raised:
        SEAChatModel(model="tiny", api_key="secret", **settings)
    message = str(raised.value)
    assert words in message
    assert not any(noise in message for noise in ("https://", "input_value", "Value error", "secret"))


def test_settings_go_by_name():
    with pytest.raises(TypeError, match=r"SEAChatModel\(model='tiny'\)"):
        SEAChatModel("tiny")


def test_a_model_is_shown_by_its_names(monkeypatch):
    """Its weights are neither shown nor loaded, and neither is what follows from the name."""
    monkeypatch.setattr(registry, "load_model", None)
    assert str(SEAChatModel()) == "SEAChatModel(model='smollm2-135m', preset='default', rewards=['safety'])"
    assert repr(SEAChatModel(model="owner/own")) == "SEAChatModel(model='owner/own', preset='default')"
    model = SEAChatModel(model="tiny", preset=SMALL_PRESET, rewards=[divide], gate=divide, max_tokens=8)
    assert repr(model).startswith("SEAChatModel(model='tiny', preset=")
    assert repr(model).endswith("rewards=['divide'], gate='divide', max_tokens=8)")


def test_a_loaded_model_is_shown_by_its_name(policy):
    assert repr(SEAChatModel(model=policy)).startswith("SEAChatModel(model='tiny/early_30', preset='default'")


class Slow(SpeedModel):
    """A machine on which a token takes a minute."""

    is_measured = True

    def decode(self, rows):
        return 60.0

    def forward(self, tokens):
        return 60.0


def count_words(prompt, completions):
    return [float(len(text.split())) for text in completions]


def test_a_time_that_is_too_short_is_logged_once_for_each_model(monkeypatch, caplog):
    """The text of an answer does not say that it is the draft."""
    monkeypatch.setattr(latent_refiner, "get_speed", lambda _: Slow())
    settings = {"model": "tiny", "rewards": [count_words], "max_tokens": 8, "budget": Budget(max_time=30.0)}
    model = SEAChatModel(**settings)
    for question in ("What is 1 + 2?", "What is 2 + 2?"):
        assert model.invoke(question).response_metadata["sea"]["plan"].startswith("none: ")
    assert len(caplog.records) == 1
    assert "no search fits into max_time=30.0 s: two more drafts are expected" in caplog.text
    assert "langchain-sea doctor --speed" in caplog.text
    SEAChatModel(**settings).invoke("What is 1 + 2?")
    assert len(caplog.records) == 2


def test_a_time_that_suffices_is_not_logged(caplog):
    make_model().invoke("What is 1 + 2?")
    assert not caplog.records
