"""Settings of a run and arguments of the marker."""

from __future__ import annotations

import pytest

from pytest_taskharness.config import MARKER, MarkerOptions, read_marker, read_settings
from pytest_taskharness.errors import ConfigurationError
from pytest_taskharness.modes import MODES


def settings(*, cli=(), ini=()):
    given, configured = dict(cli), dict(ini)
    return read_settings(given.get, lambda name: configured.get(name, ""))


def marker(*kwargs, args=()):
    """The markers of a test, the closest one first."""
    return read_marker([(args, given) for given in kwargs or [{}]])


def refused(*kwargs, args=()):
    with pytest.raises(ConfigurationError) as caught:
        marker(*kwargs, args=args)
    return str(caught.value)


# -- settings


def test_every_setting_has_a_default_and_says_so():
    found = settings()

    assert {name: str(value) for name, value in vars(found).items()} == {
        "modes": "('memory',) (default)",
        "app": "None (default)",
        "seed": "0 (default)",
        "timeline": "failed (default)",
        "redis_url": "None (default)",
        "rabbitmq_url": "None (default)",
        "allow_nonempty": "False (default)",
        "allow_remote": "False (default)",
        "fresh_workers": "False (default)",
        "replace_celery_fixtures": "False (default)",
    }


def test_the_configuration_file_beats_the_default():
    found = settings(ini={"taskharness_mode": ["eager"], "taskharness_seed": "7"})

    assert (found.modes.value, found.modes.source) == (("eager",), "ini taskharness_mode")
    assert (found.seed.value, found.seed.source) == (7, "ini taskharness_seed")


def test_the_command_line_beats_the_configuration_file():
    found = settings(
        cli={"taskharness_mode": ["eager"], "taskharness_app": "a:b"},
        ini={"taskharness_mode": ["memory"], "taskharness_app": "c:d"},
    )

    assert (found.modes.value, found.modes.source) == (("eager",), "--taskharness-mode")
    assert (found.app.value, found.app.source) == ("a:b", "--taskharness-app")


@pytest.mark.parametrize("seed", ["one", "1.5", "0x10"])
def test_a_seed_that_is_no_number_is_refused_with_its_origin(seed):
    with pytest.raises(ConfigurationError) as caught:
        settings(cli={"taskharness_seed": seed})

    assert str(caught.value) == f"--taskharness-seed takes a whole number; given: {seed!r}"


def test_a_negative_seed_is_a_seed():
    assert settings(cli={"taskharness_seed": "-1"}).seed.value == -1


def test_an_unknown_choice_lists_the_choices():
    with pytest.raises(ConfigurationError) as caught:
        settings(ini={"taskharness_timeline": "sometimes"})

    assert str(caught.value) == "ini taskharness_timeline takes one of never, failed, always; given: 'sometimes'"


def test_a_redis_is_named_on_the_command_line_or_in_the_configuration_file():
    given = settings(cli={"taskharness_redis_url": "redis://h/1", "taskharness_allow_nonempty": True})
    configured = settings(ini={"taskharness_redis_url": "redis://h/2", "taskharness_allow_remote": True})

    assert str(given.redis_url) == "redis://h/1 (--taskharness-redis-url)"
    assert str(given.allow_nonempty) == "True (--taskharness-allow-nonempty)"
    assert str(given.allow_remote) == "False (default)"
    assert str(configured.redis_url) == "redis://h/2 (ini taskharness_redis_url)"
    assert str(configured.allow_remote) == "True (ini taskharness_allow_remote)"


def test_a_url_from_a_variable_that_is_not_set_is_refused():
    with pytest.raises(ConfigurationError) as caught:
        settings(cli={"taskharness_redis_url": ""}, ini={"taskharness_redis_url": "redis://h/2"})

    assert str(caught.value) == (
        "--taskharness-redis-url takes the URL of a Redis, such as redis://127.0.0.1:6379/15; given: ''"
    )


# -- the marker


def test_no_marker_asks_for_nothing():
    assert read_marker([]) == MarkerOptions()


def test_a_bare_marker_asks_for_nothing():
    assert marker({}) == MarkerOptions()


def test_one_mode_and_several_modes():
    assert marker({"mode": "eager"}).modes == ("eager",)
    assert marker({"modes": ["eager", "memory"]}).modes == ("eager", "memory")
    assert marker({"modes": "eager,memory"}).modes == ("eager", "memory")
    assert marker({"modes": "all"}).modes == tuple(MODES)


def test_one_seed_and_several_seeds():
    assert marker({"seed": 7}).seeds == (7,)
    assert marker({"seed": range(3)}).seeds == (0, 1, 2)
    assert marker({"seed": [4, 2]}).seeds == (4, 2)


def test_the_closest_marker_wins_and_the_others_fill_up():
    merged = marker({"seed": 1}, {"seed": 2, "workers": 3})

    assert (merged.seeds, merged.workers) == ((1,), 3)


def test_a_closer_mode_replaces_modes_further_out():
    assert marker({"mode": "eager"}, {"modes": ["memory", "eager"]}).modes == ("eager",)
    assert marker({"modes": ["memory", "eager"]}, {"mode": "eager"}).modes == ("memory", "eager")


def test_settings_of_several_markers_are_merged_key_by_key():
    merged = marker({"config": {"a": 1, "b": 1}}, {"config": {"b": 2, "c": 2}})

    assert merged.config == {"a": 1, "b": 1, "c": 2}


def test_a_misspelt_argument_is_named_and_the_signature_shown():
    text = refused({"mod": "memory"})

    assert text.startswith("@pytest.mark.taskharness got an unexpected keyword argument 'mod'")
    assert text.endswith(
        "\nIt is taskharness(mode=, modes=, start=, seed=, workers=, pool=, visibility_timeout=, "
        "consumer_timeout=, config={...}, strict_leftovers=, replace=)."
    )


def test_the_marker_line_names_every_argument():
    assert all(f"{name}=" in MARKER for name in MarkerOptions.__dataclass_fields__ if name != "seeds")


def test_a_positional_argument_is_refused():
    assert refused({}, args=("memory",)) == "@pytest.mark.taskharness takes keyword arguments only; given: 'memory'"


def test_mode_and_modes_at_once_are_refused():
    assert refused({"mode": "eager", "modes": ["memory"]}) == (
        "@pytest.mark.taskharness takes mode= or modes=, not both"
    )


def test_an_unknown_mode_says_where_it_came_from():
    assert refused({"mode": "egaer"}) == (
        "unknown mode 'egaer' (from @pytest.mark.taskharness). Did you mean 'eager'? "
        f"Modes: {', '.join(MODES)}, or all."
    )


@pytest.mark.parametrize("given", [{"mode": ["memory", "eager"]}, {"mode": 1}, {"modes": [1]}, {"modes": 1}])
def test_a_mode_that_is_no_text_is_refused(given):
    [[name, value]] = given.items()

    text = refused(given)

    assert text.startswith(f"@pytest.mark.taskharness({name}=…) takes ")
    assert text.endswith(f"; given: {value!r}")


def test_an_empty_list_of_modes_is_refused():
    assert "names no mode" in refused({"modes": []})


@pytest.mark.parametrize("seed", ["abc", "7", 1.5, [], [1.5], ["a"], object])
def test_a_seed_that_is_no_number_in_a_marker_is_refused(seed):
    assert refused({"seed": seed}) == (
        f"@pytest.mark.taskharness(seed=…) takes a whole number, or several: 7, [1, 2], range(10); given: {seed!r}"
    )


@pytest.mark.parametrize("config", ["a", ["a"], 1])
def test_settings_that_are_no_mapping_are_refused(config):
    assert refused({"config": config}) == (
        f"@pytest.mark.taskharness(config=…) takes a dict of Celery settings; given: {config!r}"
    )
