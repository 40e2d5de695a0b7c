"""Languages as clients name them, by tag (BCP 47: `de`, `pt-BR`) or by name, and as models are told them."""

from __future__ import annotations

import re
from typing import Final

NAMES: Final = {
    "ar": ("Arabic", "العربية"), "bg": ("Bulgarian", "Български"), "bn": ("Bengali", "বাংলা"),
    "ca": ("Catalan", "Català"), "cs": ("Czech", "Čeština"), "cy": ("Welsh", "Cymraeg"),
    "da": ("Danish", "Dansk"), "de": ("German", "Deutsch"), "el": ("Greek", "Ελληνικά"),
    "en": ("English", "English"), "es": ("Spanish", "Español"), "et": ("Estonian", "Eesti"),
    "eu": ("Basque", "Euskara"), "fa": ("Persian", "فارسی"), "fi": ("Finnish", "Suomi"),
    "fr": ("French", "Français"), "ga": ("Irish", "Gaeilge"), "gl": ("Galician", "Galego"),
    "gu": ("Gujarati", "ગુજરાતી"), "he": ("Hebrew", "עברית"), "hi": ("Hindi", "हिन्दी"),
    "hr": ("Croatian", "Hrvatski"), "hu": ("Hungarian", "Magyar"), "hy": ("Armenian", "Հայերեն"),
    "id": ("Indonesian", "Bahasa Indonesia"), "is": ("Icelandic", "Íslenska"), "it": ("Italian", "Italiano"),
    "ja": ("Japanese", "日本語"), "ka": ("Georgian", "ქართული"), "kk": ("Kazakh", "Қазақ тілі"),
    "ko": ("Korean", "한국어"), "lt": ("Lithuanian", "Lietuvių"), "lv": ("Latvian", "Latviešu"),
    "mk": ("Macedonian", "Македонски"), "mr": ("Marathi", "मराठी"), "ms": ("Malay", "Bahasa Melayu"),
    "mt": ("Maltese", "Malti"), "nb": ("Norwegian Bokmål", "Bokmål"), "nl": ("Dutch", "Nederlands"),
    "nn": ("Norwegian Nynorsk", "Nynorsk"), "no": ("Norwegian", "Norsk"), "pa": ("Punjabi", "ਪੰਜਾਬੀ"),
    "pl": ("Polish", "Polski"), "pt": ("Portuguese", "Português"), "ro": ("Romanian", "Română"),
    "ru": ("Russian", "Русский"), "sk": ("Slovak", "Slovenčina"), "sl": ("Slovenian", "Slovenščina"),
    "sq": ("Albanian", "Shqip"), "sr": ("Serbian", "Српски"), "sv": ("Swedish", "Svenska"),
    "sw": ("Swahili", "Kiswahili"), "ta": ("Tamil", "தமிழ்"), "te": ("Telugu", "తెలుగు"),
    "th": ("Thai", "ไทย"), "tr": ("Turkish", "Türkçe"), "uk": ("Ukrainian", "Українська"),
    "ur": ("Urdu", "اردو"), "vi": ("Vietnamese", "Tiếng Việt"), "zh": ("Chinese", "中文"),
}  # fmt: skip
"""Language -> its name in English, and in itself."""

_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}")
_BY_NAME = {name.casefold(): tag for tag, names in NAMES.items() for name in names}


def tag_of(wish: str) -> str | None:
    """The tag that a client means: `de` for `DE`, `German` and `deutsch`; None for what is no language."""
    text = " ".join(wish.split())
    if (named := _BY_NAME.get(text.casefold())) is not None:
        return named
    if not _TAG.fullmatch(text):
        return None
    language, *further = text.split("-")
    return "-".join([language.lower(), *map(_in_its_case, further)])


def _in_its_case(subtag: str) -> str:
    """RFC 5646, 2.1.1: regions in upper case, scripts as names, all else in lower case."""
    if len(subtag) == 4 and subtag.isalpha():
        return subtag.title()
    return subtag.upper() if len(subtag) == 2 else subtag.lower()


def described(tag: str) -> str:
    """What a model is told: `German (de)`. Small models know names better than tags."""
    names = NAMES.get(tag.split("-", maxsplit=1)[0])
    return f"{names[0]} ({tag})" if names else f"the language of the BCP 47 tag {tag}"
