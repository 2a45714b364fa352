"""The names that scripts outside the project rely on."""

import inspect

import facebridge.evaluation as evaluation


def test_identification_and_verification_are_functions_of_scores():
    assert list(inspect.signature(evaluation.identification).parameters)[:3] == ["scores", "probe_ids", "gallery_ids"]
    assert list(inspect.signature(evaluation.verification).parameters) == ["scores", "genuine", "far"]


def test_every_exported_name_is_there():
    assert all(hasattr(evaluation, name) for name in evaluation.__all__)
