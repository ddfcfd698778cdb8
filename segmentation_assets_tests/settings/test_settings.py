"""Settings come from five places, later ones win, and a mistake ends in a sentence that says where it was made."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from segmentation_assets.settings import (
    PROJECT_ROOT,
    Home,
    Settings,
    SettingsError,
    find_home,
    load_settings,
    record_flags,
    refuse_other_source,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    file = tmp_path / "segmentation.toml"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("SEGMENTATION_SETTINGS", str(file))
    return Home(tmp_path / "home").ensure()


def write_toml(home: Home, text: str) -> None:
    (home.path.parent / "segmentation.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "SEGMENTATION_DELIVERY__ALLOWED_DOMAINS",
            "example.com",
            "In the environment: SEGMENTATION_DELIVERY__ALLOWED_DOMAINS must be JSON, for example "
            """'["example.com", "example.org"]' for a list.""",
        ),
        (
            "SEGMENTATION_DELIVERY__ALLOWED_DOMAINS",
            '["@example.com"]',
            "In the environment: delivery.allowed_domains.0 must be a domain such as example.com, without @ or *, in "
            "ASCII (xn--) (given: '@example.com').",
        ),
        (
            "SEGMENTATION_DELIVERY__SMTP_USER",
            "news\udcff",  # bytes that are no UTF-8, as Python hands them over
            "In the environment: SEGMENTATION_DELIVERY__SMTP_USER holds bytes that are no text in UTF-8. Set it anew.",
        ),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(home)
    assert str(caught.value) == sentence


def test_flags_win_over_environment_over_recorded_over_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toml(home, "[synthetic]\ncustomers = 1\n")
    assert load_settings(home).synthetic.customers == 1
    record_flags(home, {"synthetic": {"customers": 2}})
    assert load_settings(home).synthetic.customers == 2
    monkeypatch.setenv("SEGMENTATION_SYNTHETIC__CUSTOMERS", "3")
    assert load_settings(home).synthetic.customers == 3
    assert load_settings(home, {"synthetic": {"customers": 4}}).synthetic.customers == 4


def test_a_flag_that_was_not_given_changes_nothing(home: Home) -> None:
    record_flags(home, {"seed": 7})
    record_flags(home, {"seed": None, "synthetic": {"customers": 5}})
    assert load_settings(home, {"seed": None}).seed == 7


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        (
            "[synthetic]\ncustmers = 5",
            "In segmentation.toml: synthetic.custmers is not a setting. Did you mean customers?",
        ),
        ("sourc = 'x'", "In segmentation.toml: sourc is not a setting. Did you mean source?"),
        (
            "[campaigns]\nmargin_floor_share = 1.5",
            "In segmentation.toml: campaigns.margin_floor_share must be less than or equal to 1 (given: 1.5).",
        ),
        ("[engine]\nthreads = 'many'", "engine.threads must be a valid integer"),
        ("[segments.stage]\nfeatres = []", "segments.stage.featres is not a setting. Did you mean features?"),
        ("seed = = 1", "segmentation.toml cannot be read: "),
    ],
)
def test_a_mistake_in_the_file_is_named(home: Home, toml: str, sentence: str) -> None:
    write_toml(home, toml)
    with pytest.raises(SettingsError) as caught:
        load_settings(home)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["SEGMENTATION_SYNTETIC__CUSTOMERS", "SEGMENTATION_SYNTHETIC__CUSTOMRS"])
def test_a_mistyped_variable_is_not_ignored(home: Home, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(SettingsError, match=r"In the environment.*is not a setting. Did you mean"):
        load_settings(home)


def test_a_settings_file_that_is_named_and_missing_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTATION_SETTINGS", str(home.path / "none.toml"))
    with pytest.raises(SettingsError, match="there is no such file"):
        load_settings(home)


def test_another_source_in_the_same_home_is_refused_with_the_way_out(home: Home) -> None:
    record_flags(home, {"source": {"name": "synthetic"}})
    home.warehouse.touch()
    with pytest.raises(SettingsError) as caught:
        refuse_other_source(home, load_settings(home, {"source": {"name": "cdnow"}}))
    assert "holds the source 'synthetic', and 'cdnow' was asked for" in str(caught.value)
    assert "--home FOLDER" in str(caught.value)
    refuse_other_source(home, load_settings(home))


def test_home_is_absolute_and_the_flag_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGMENTATION_HOME", str(tmp_path / "a"))
    assert find_home().path == tmp_path / "a"
    monkeypatch.chdir(tmp_path)
    assert find_home(Path("b")).path == tmp_path / "b"


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be made"):
        Home(tmp_path / "file" / "home").ensure()


def test_every_setting_stands_in_the_committed_file_with_its_default() -> None:
    """The file is the documentation: uncommented, it parses, and says exactly the defaults it shows."""
    text = (PROJECT_ROOT / "segmentation.toml").read_text(encoding="utf-8")
    assert Settings.model_validate(tomllib.loads(text)) == Settings()
    uncommented = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and "=" in line.split("#")[1] and " = " in line[:32] else line
        for line in text.splitlines()
    )
    shown = tomllib.loads(uncommented)
    missing = [
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for key in field.annotation.model_fields
        if key not in shown.get(section, {})
        or (section == "campaigns" and key == "discounts" and len(shown[section][key]) != 5)
    ]
    assert missing == []
    plain = {name: value for name, value in shown.items() if name != "segments"}
    plain["segments"] = {k: v for k, v in shown["segments"].items() if k not in ("stage", "taste")}
    assert Settings.model_validate(plain) == Settings()
