"""Who answers, and why: `auto` is told, nothing is switched silently, and a key goes to its own server only."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation_assets.language.providers.choice import (
    OPENAI_URL,
    ProviderChoice,
    choose_provider,
    is_this_machine,
    shown_url,
)
from segmentation_assets.language.task import LanguageConfigurationError

KEY = "sk-hidden-0123456789"
HERE = "http://127.0.0.1:11434/v1"


def choose(
    provider: str = "auto", model: str = "", base_url: str = "", key_variable: str = "", **environ: str
) -> ProviderChoice:
    return choose_provider(provider, model, base_url, key_variable, environ)


def refusal(*given_: str, **environ: str) -> str:
    """The sentence of a refusal; it never holds a key."""
    with pytest.raises(LanguageConfigurationError) as caught:
        choose(*given_, **environ)
    words = str(caught.value)
    assert not any(value.strip() and value in words for value in environ.values())
    return words


def test_auto_without_a_key_is_the_embedded_writer() -> None:
    assert choose() == ProviderChoice("embedded", "", "", "", "auto: OPENAI_API_KEY is not set.")
    assert choose(OPENAI_API_KEY="  ").name == "embedded"


def test_auto_with_a_key_is_openai_and_its_default_model() -> None:
    assert choose(OPENAI_API_KEY=KEY) == ProviderChoice(
        "openai", "gpt-5-mini", OPENAI_URL, "OPENAI_API_KEY", "auto: OPENAI_API_KEY is set."
    )
    assert choose("auto", "gpt-5", OPENAI_API_KEY=KEY).model == "gpt-5"


def test_auto_never_takes_a_server_that_was_only_addressed() -> None:
    choice = choose("auto", "", HERE)
    assert choice.name == "embedded"
    assert choice.reason == (
        'auto: OPENAI_API_KEY is not set. language.base_url is used with language.provider = "openai_compatible" only.'
    )


def test_embedded_stays_embedded_whatever_key_is_set() -> None:
    assert choose("embedded", "gpt-5", HERE, OPENAI_API_KEY=KEY) == ProviderChoice(
        "embedded", "", "", "", 'language.provider is "embedded".'
    )


def test_replay_has_no_server() -> None:
    assert choose("replay", OPENAI_API_KEY=KEY) == ProviderChoice(
        "replay", "", "", "", 'language.provider is "replay".'
    )


def test_openai_without_a_key_names_the_variable() -> None:
    assert refusal("openai") == (
        'language.provider is "openai", and OPENAI_API_KEY is not set. Set OPENAI_API_KEY to a key, or set '
        'language.provider to "embedded" to do without a model.'
    )


def test_openai_never_takes_the_key_that_was_named_for_another_server() -> None:
    choice = choose("openai", "", "", "VLLM_KEY", OPENAI_API_KEY=KEY, VLLM_KEY="other")
    assert choice.key_variable == "OPENAI_API_KEY"


@pytest.mark.parametrize("provider", ["openai", "auto"])
@pytest.mark.parametrize(
    "address",
    [HERE, "https://api.openai.com.evil.example/v1", "http://api.openai.com/v1", "https://openai.com.evil.example"],
)
def test_the_key_of_openai_is_sent_to_openai_only(provider: str, address: str) -> None:
    assert refusal(provider, "", address, OPENAI_API_KEY=KEY) == (
        f"The provider is openai, and language.base_url is {address}, which is not OpenAI: OPENAI_API_KEY is never "
        'sent to another server. Set language.provider to "openai_compatible", or remove language.base_url.'
    )


@pytest.mark.parametrize("address", ["https://api.openai.com/v1/", "https://eu.api.openai.com/v1"])
def test_openai_may_be_addressed_by_its_own_names(address: str) -> None:
    assert choose("openai", "", address, OPENAI_API_KEY=KEY).base_url == address.rstrip("/")


def test_a_compatible_server_needs_an_address() -> None:
    assert refusal("openai_compatible") == (
        'language.provider is "openai_compatible", and language.base_url is not set. Set language.base_url to the '
        "address of the server, for example http://127.0.0.1:11434/v1."
    )


def test_a_compatible_server_is_sent_no_key_unless_one_is_named() -> None:
    assert choose("openai_compatible", "qwen", HERE + "/", OPENAI_API_KEY=KEY) == ProviderChoice(
        "openai_compatible", "qwen", HERE, "", 'language.provider is "openai_compatible", without a key.'
    )
    named = choose("openai_compatible", "", "https://models.example/v1", "VLLM_KEY", VLLM_KEY=KEY)
    assert (named.key_variable, named.model) == ("VLLM_KEY", "")
    assert KEY not in str(dataclasses.asdict(named))


@pytest.mark.parametrize("address", ["ftp://models.example/v1", "models.example:8000", "http://", "https://:0/v1", "x"])
def test_an_address_that_is_not_http_is_refused(address: str) -> None:
    assert refusal("openai_compatible", "", address) == (
        f"language.base_url is {address!r}, which is no http or https address. Write it like http://127.0.0.1:11434/v1."
    )


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999/v1", "http://[::1/v1", "http://127.0.0.1:x/v1"])
def test_an_address_that_cannot_be_read_is_refused(address: str) -> None:
    assert refusal("openai_compatible", "", address) == (
        "language.base_url cannot be read as an address. Write it like http://127.0.0.1:11434/v1."
    )


@pytest.mark.parametrize(
    "address",
    ["https://joe:secret@models.example/v1", "http://localhost@evil.example/v1", "https://joe@models.example"],
)
def test_user_info_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    words = refusal("openai_compatible", "", address)
    assert words == (
        "language.base_url holds a user name or a password. Take it out, and name the variable that holds the key in "
        "language.key_variable."
    )


def test_a_query_in_an_address_is_refused_as_it_may_hold_a_key() -> None:
    assert refusal("openai_compatible", "", "https://models.example/v1?key=sk-1") == (
        "language.base_url holds a '?' or a '#'. Write the address alone, like http://127.0.0.1:11434/v1."
    )


@pytest.mark.parametrize("address", ["http://127.0.0.1\\@evil.example/v1", "http://a b/v1", "http://a\n.example/v1"])
def test_characters_that_hide_the_host_are_refused(address: str) -> None:
    assert refusal("openai_compatible", "", address) == (
        "language.base_url holds a space, a backslash or a control character. Write it like http://127.0.0.1:11434/v1."
    )


@pytest.mark.parametrize("host", ["models.example", "192.168.1.20:8000", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_a_key_is_not_sent_in_clear_to_another_machine(host: str) -> None:
    assert refusal("openai_compatible", "", f"http://{host}/v1", "VLLM_KEY", VLLM_KEY=KEY) == (
        f"language.base_url is http://{host}/v1, another machine without encryption, and the key of VLLM_KEY would be "
        "sent to it in clear. Use an https address, or empty language.key_variable to send no key."
    )
    assert choose("openai_compatible", "", f"http://{host}/v1").key_variable == ""


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "127.8.8.8", "gpu.localhost", "LOCALHOST"]
)
def test_a_key_may_go_unencrypted_to_this_machine(host: str) -> None:
    assert choose("openai_compatible", "", f"http://{host}/v1", "VLLM_KEY", VLLM_KEY=KEY).key_variable == "VLLM_KEY"


def test_a_named_variable_that_is_not_set_is_told() -> None:
    assert refusal("openai_compatible", "", HERE, "VLLM_KEY") == (
        "language.key_variable is VLLM_KEY, and no such variable is set. Set VLLM_KEY to the key of the server, or "
        "empty language.key_variable to send none."
    )


def test_a_key_in_the_place_of_its_variable_is_refused_and_not_repeated() -> None:
    words = refusal("openai_compatible", "", HERE, KEY)
    assert KEY not in words
    assert words == (
        "language.key_variable is not the name of an environment variable (letters, digits and underscores; not "
        "repeated here, as it may be a key). Put the key into a variable, and the variable's name here."
    )


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "COPY_OF_IT"])
def test_the_key_of_openai_is_refused_for_another_server_under_any_name(variable: str) -> None:
    words = refusal("openai_compatible", "", HERE, variable, OPENAI_API_KEY=KEY, COPY_OF_IT=KEY)
    assert words == (
        f"language.key_variable is {variable}, which holds the key of OpenAI, and language.base_url is another server: "
        "OPENAI_API_KEY is never sent to another server. Name a variable with that server's own key."
    )
    at_openai = choose("openai_compatible", "", OPENAI_URL, "OPENAI_API_KEY", OPENAI_API_KEY=KEY)
    assert at_openai.key_variable == "OPENAI_API_KEY"


def test_an_unknown_provider_names_those_there_are() -> None:
    assert refusal("ollama") == (
        "language.provider is 'ollama', which is none of auto, embedded, openai, openai_compatible, replay."
    )


def test_an_address_is_shown_without_what_may_be_secret() -> None:
    assert shown_url("https://joe:secret@models.example:8443/v1/?key=1#x") == "https://models.example:8443/v1"
    assert shown_url("http://[::1]:8000/v1") == "http://[::1]:8000/v1"
    assert shown_url("http://[::1") == "(an address that cannot be read)"
    assert shown_url("") == ""


@given(
    provider=st.sampled_from(["auto", "openai", "openai_compatible"]),
    base_url=st.one_of(
        st.text(max_size=40),
        st.builds(
            "{}://{}{}{}".format,
            st.sampled_from(["http", "https", "HTTP", "ws", ""]),
            st.sampled_from(["", "u:p@", "@"]),
            st.sampled_from(["127.0.0.1", "localhost", "api.openai.com", "evil.example", "[::1]", "10.0.0.1", "0"]),
            st.sampled_from(["", "/v1", ":80/v1", ":0", "?x", "\\", "\t"]),
        ),
    ),
    key_variable=st.sampled_from(["", "OPENAI_API_KEY", "MINE", "COPY"]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_set_no_key_of_openai_and_no_key_in_clear_leaves(
    provider: str, base_url: str, key_variable: str
) -> None:
    environ = {"OPENAI_API_KEY": KEY, "MINE": "another-key", "COPY": KEY}
    try:
        choice = choose_provider(provider, "", base_url, key_variable, environ)
    except LanguageConfigurationError as error:
        assert KEY not in str(error)
        return
    assert choice.base_url.lower().startswith(("http://", "https://"))
    if choice.key_variable:
        assert choice.base_url.lower().startswith("https://") or is_this_machine(choice.base_url)
    if environ.get(choice.key_variable) == KEY:
        host = shown_url(choice.base_url).split("://")[1].split("/")[0].split(":")[0]
        assert host == "api.openai.com"
