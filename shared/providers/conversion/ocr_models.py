"""Which models OCR uses, and the engine that is made of them. Nothing is ever downloaded.

RapidOCR's wheel brings one detector and one recogniser, which read English and the other languages of Latin
script, Chinese and Japanese. A recogniser for other scripts is a file that the operator puts into
OCR_MODEL_DIR, under the name that RapidOCR gives it.
"""

from __future__ import annotations

import hashlib
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import ConversionFailed
from shared.providers.conversion.request import Recognition

NOT_INSTALLED = "OCR is not installed: install requirements-ocr.txt, or upload a version with text in it."

_DETECTED_SIDE = 1600  # pixels of the longer side; lines are found in this, and read in the full picture
_LINES_AT_A_TIME = 1  # six are no faster, and take twice the memory
_PACKAGES = ("rapidocr", "onnxruntime", "cv2")
_IN_THE_WHEEL = "PP-OCRv6_small"
_BY_PREFERENCE = (_IN_THE_WHEEL, "PP-OCRv5_mobile", "PP-OCRv4_mobile", "PP-OCRv4_server")


def installed() -> bool:
    """Asked without importing anything: it takes seconds."""
    return all(find_spec(package) for package in _PACKAGES)


def fingerprint(recognition: Recognition) -> str:
    """Changes with whatever changes the text that is read."""
    if not installed():
        return "none"
    files = sorted(recognition.models.glob("*.onnx")) if recognition.models else []
    parts = [metadata.version("rapidocr"), recognition.language, recognition.model or ""]
    parts += [f"{file.name}:{file.stat().st_size}" for file in files]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def missing(recognition: Recognition) -> str | None:
    """What keeps OCR from running although it is installed, for the operator."""
    try:
        _files(recognition)
    except ConversionFailed as error:
        return error.message
    return None


def engine(recognition: Recognition) -> Any:
    """A RapidOCR, which loads its models when it is first used. Raises ConversionFailed without them."""
    import cv2
    from rapidocr import RapidOCR

    detector, recogniser = _files(recognition)
    _forbid_downloads()
    cv2.setNumThreads(recognition.threads)
    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Global.max_side_len": _DETECTED_SIDE,
            "EngineConfig.onnxruntime.intra_op_num_threads": recognition.threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Det.model_path": str(detector),
            "Rec.model_path": str(recogniser),
            "Rec.lang_type": recognition.language,
            "Rec.rec_batch_num": _LINES_AT_A_TIME,
        }
    )


def _files(recognition: Recognition) -> tuple[Path, Path]:
    """The detector's and the recogniser's file. Detecting lines of text takes no language."""
    model = recognition.model or _model_for(recognition.language)
    if recognition.language not in _languages(model):
        raise ConversionFailed(
            f"OCR cannot run: the model {model} does not read OCR_LANGUAGE={recognition.language}. "
            "Leave OCR_MODEL unset, then one that does is chosen."
        )
    if recognition.language == "arabic" and find_spec("bidi") is None:
        raise ConversionFailed("OCR cannot run: OCR_LANGUAGE=arabic needs the package python-bidi.")
    detector = model if model.startswith("PP-OCRv6") else _IN_THE_WHEEL
    return _file("det", detector, "en", recognition), _file("rec", model, recognition.language, recognition)


def _model_for(language: str) -> str:
    return next((model for model in _BY_PREFERENCE if language in _languages(model)), _IN_THE_WHEEL)


def _languages(model: str) -> list[str]:
    rapidocr: Any = import_module("rapidocr")
    version, size = model.split("_")
    return list(rapidocr.RapidOCR.list_supported_langs("rec", version, size))


def _file(task: str, model: str, language: str, recognition: Recognition) -> Path:
    name = _name(task, model, language)
    for folder in filter(None, (recognition.models, _wheel())):
        if (folder / name).is_file():
            return folder / name
    raise ConversionFailed(
        f"OCR cannot run: OCR_LANGUAGE={recognition.language} needs the model file {name}. The operator "
        "puts it into the folder that OCR_MODEL_DIR names."
    )


def _name(task: str, model: str, language: str) -> str:
    """The file's name in RapidOCR's own list of models."""
    from rapidocr.inference_engine.base import FileInfo, InferSession
    from rapidocr.utils.typings import EngineType, ModelType, OCRVersion, TaskType

    version, size = model.split("_")
    wanted = FileInfo(EngineType.ONNXRUNTIME, OCRVersion(version), TaskType(task), language, ModelType(size))
    return Path(InferSession.get_model_url(wanted)["model_dir"]).name


def _wheel() -> Path:
    import rapidocr

    return Path(rapidocr.__file__).parent / "models"


def _forbid_downloads() -> None:
    """A model without a list of its characters would make RapidOCR fetch one."""
    downloads: Any = import_module("rapidocr.utils.download_file")
    downloads.DownloadFile.run = _refuse


def _refuse(wanted: Any) -> None:
    raise ConversionFailed(
        f"OCR cannot run: its model needs the file {Path(wanted.save_path).name}, and nothing is "
        "downloaded. Take a model from RapidOCR's list for onnxruntime."
    )
