"""Which provider answers, and why: decided once, from plain values, before any connection is made.

What belongs here: the rules of `auto`, the defaults, and every reason to refuse an address or a key. What does not:
connecting (`openai_server`), what a server can do (`probe`), and where the values were set (the settings).

A key belongs to its own server. OpenAI is sent the key of OPENAI_API_KEY and nothing else; another server is sent the
key of the variable that was named for it, or none; and no key travels unencrypted to another machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from segmentation_assets.language.task import EMBEDDED, LanguageConfigurationError

OPENAI = "openai"
OPENAI_COMPATIBLE = "openai_compatible"
REPLAY = "replay"
AUTO = "auto"
PROVIDERS = (AUTO, EMBEDDED, OPENAI, OPENAI_COMPATIBLE, REPLAY)

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-5-mini"
OPENAI_KEY = "OPENAI_API_KEY"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXAMPLE = "http://127.0.0.1:11434/v1"


@dataclass(frozen=True)
class ProviderChoice:
    """Who answers. `model` is empty where the only one served is meant; `key_variable` is empty where no key is sent.

    The key itself is not here: who sends it reads it from the environment, so that it can be neither printed nor
    stored with the choice. `reason` is a sentence.
    """

    name: str
    model: str
    base_url: str
    key_variable: str
    reason: str


def choose_provider(
    provider: str, model: str, base_url: str, key_variable: str, environ: Mapping[str, str]
) -> ProviderChoice:
    """The provider in force for these settings. `environ` is the environment, or what stands for it.

    Raises LanguageConfigurationError with the setting or the variable to mend; no message holds a key or the user
    info of an address. OpenAI always takes the key of OPENAI_API_KEY: `key_variable` is that of another server.
    """
    given = {name: value.strip() for name, value in environ.items()}
    has_openai_key = bool(given.get(OPENAI_KEY))
    address = base_url.strip()
    match provider:
        case "auto" if has_openai_key:
            return _openai(model, address, f"auto: {OPENAI_KEY} is set.")
        case "auto":
            reason = f"auto: {OPENAI_KEY} is not set."
            if address:
                reason += ' language.base_url is used with language.provider = "openai_compatible" only.'
            return ProviderChoice(EMBEDDED, "", "", "", reason)
        case "embedded":
            return ProviderChoice(EMBEDDED, "", "", "", 'language.provider is "embedded".')
        case "replay":
            return ProviderChoice(REPLAY, model.strip(), "", "", 'language.provider is "replay".')
        case "openai":
            if not has_openai_key:
                raise LanguageConfigurationError(
                    f'language.provider is "openai", and {OPENAI_KEY} is not set. Set {OPENAI_KEY} to a key, or set '
                    'language.provider to "embedded" to do without a model.'
                )
            return _openai(model, address, 'language.provider is "openai".')
        case "openai_compatible":
            return _compatible(model, address, key_variable.strip(), given)
        case _:
            raise LanguageConfigurationError(
                f"language.provider is {provider!r}, which is none of {', '.join(PROVIDERS)}."
            )


def shown_url(base_url: str) -> str:
    """`base_url` as it may be printed and stored: without user info, query and fragment."""
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(an address that cannot be read)"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}".rstrip("/") if host else ""


def is_this_machine(base_url: str) -> bool:
    """Whether the address is this machine's own: what is sent there never leaves it."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _openai(model: str, address: str, reason: str) -> ProviderChoice:
    if address:
        parts = _read(address)
        if not _is_openai(parts):
            raise LanguageConfigurationError(
                f"The provider is openai, and language.base_url is {shown_url(address)}, which is not OpenAI: "
                f'{OPENAI_KEY} is never sent to another server. Set language.provider to "openai_compatible", or '
                "remove language.base_url."
            )
    return ProviderChoice(OPENAI, model.strip() or OPENAI_MODEL, address.rstrip("/") or OPENAI_URL, OPENAI_KEY, reason)


def _compatible(model: str, address: str, key_variable: str, given: Mapping[str, str]) -> ProviderChoice:
    if not address:
        raise LanguageConfigurationError(
            'language.provider is "openai_compatible", and language.base_url is not set. Set language.base_url to the '
            f"address of the server, for example {_EXAMPLE}."
        )
    parts = _read(address)
    if key_variable:
        _check_key(key_variable, parts, given)
        if parts.scheme == "http" and not is_this_machine(address):
            raise LanguageConfigurationError(
                f"language.base_url is {shown_url(address)}, another machine without encryption, and the key of "
                f"{key_variable} would be sent to it in clear. Use an https address, or empty language.key_variable "
                "to send no key."
            )
    reason = f'language.provider is "openai_compatible", {"with" if key_variable else "without"} a key.'
    return ProviderChoice(OPENAI_COMPATIBLE, model.strip(), address.rstrip("/"), key_variable, reason)


def _check_key(key_variable: str, parts: SplitResult, given: Mapping[str, str]) -> None:
    if not _VARIABLE.fullmatch(key_variable):
        raise LanguageConfigurationError(
            "language.key_variable is not the name of an environment variable (letters, digits and underscores; not "
            "repeated here, as it may be a key). Put the key into a variable, and the variable's name here."
        )
    key = given.get(key_variable)
    if not key:
        raise LanguageConfigurationError(
            f"language.key_variable is {key_variable}, and no such variable is set. Set {key_variable} to the key of "
            "the server, or empty language.key_variable to send none."
        )
    if not _is_openai(parts) and (key_variable == OPENAI_KEY or key == given.get(OPENAI_KEY)):
        raise LanguageConfigurationError(
            f"language.key_variable is {key_variable}, which holds the key of OpenAI, and language.base_url is "
            f"another server: {OPENAI_KEY} is never sent to another server. Name a variable with that server's own key."
        )


def _read(address: str) -> SplitResult:
    """The parts of an address; LanguageConfigurationError when it is none that may be used."""
    if "\\" in address or any(character.isspace() or not character.isprintable() for character in address):
        raise LanguageConfigurationError(
            f"language.base_url holds a space, a backslash or a control character. Write it like {_EXAMPLE}."
        )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise LanguageConfigurationError(
            f"language.base_url cannot be read as an address. Write it like {_EXAMPLE}."
        ) from None
    if "@" in parts.netloc:
        raise LanguageConfigurationError(
            "language.base_url holds a user name or a password. Take it out, and name the variable that holds the key "
            "in language.key_variable."
        )
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise LanguageConfigurationError(
            f"language.base_url is {address[:80]!r}, which is no http or https address. Write it like {_EXAMPLE}."
        )
    if parts.query or parts.fragment:
        raise LanguageConfigurationError(
            f"language.base_url holds a '?' or a '#'. Write the address alone, like {_EXAMPLE}."
        )
    return parts


def _is_openai(parts: SplitResult) -> bool:
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme == "https" and (host == "api.openai.com" or host.endswith(".api.openai.com"))
