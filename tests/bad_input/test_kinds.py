"""What broke in people's hands once, kind by kind, and which test holds that it does not again."""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
KINDS: dict[str, tuple[str, ...]] = {
    # Safety
    "a phase that leaves the folder": (
        "test_names::test_an_oracle_with_such_a_phase_writes_nothing",
        "test_names::test_a_trace_writer_is_a_door",
        "bad_input/test_records::test_traces[records-phase-absolute]",
        "bad_input/test_records::test_goldens[manifest.json-phase-path]",
    ),
    "xxhash.py, random.py, numpy.py beside my_port.py": ("running/test_process::test_a_users_folder_hides_nothing",),
    "a module that ends Python": (
        "running/test_process::test_a_module_that_cannot_be_imported_is_its_candidates_verdict",
        "running/test_process::test_no_module_of_a_users_ends_the_command",
    ),
    "templates that loop": ("bad_input/test_templates::test_templates[loops]",),
    "templates that grow": ("bad_input/test_templates::test_templates[grows]",),
    "pipes as weights or tensors": (
        "bad_input/test_weights::test_headers[checkpoint-pipe]",
        "bad_input/test_weights::test_headers[trace-pipe]",
        "bad_input/test_json::test_spoilt_json[manifest-pipe]",
    ),
    # Exit 0 that was not earned
    "other logits returned than emitted": ("running/test_returned::test_other_logits_are_a_verdict",),
    "a wrong trace as its own baseline": (
        "cli/test_cli_traces::test_diff_refuses_a_candidate_as_its_own_baseline",
        "cli/test_cli_traces::test_diff_refuses_a_candidate_given_as_baseline_and_back",
    ),
    "a tensor that was changed on disk": (
        "cli/test_cli_traces::test_diff_refuses_a_tensor_that_was_changed",
        "traces/test_trace::test_a_tensor_that_was_changed_on_disk",
    ),
    "a floor far beyond its arithmetic": (
        "golden/test_golden::test_a_damaged_golden_is_refused",
        "cli/test_cli_traces::test_diff_refuses_a_floor_that_no_arithmetic_has",
    ),
    "a chunk lost or named twice": ("golden/test_golden::test_a_damaged_golden_is_refused",),
    "two records of one key": ("traces/test_trace::test_two_records_of_one_key",),
    "padding that leaves nothing": ("traces/test_trace::test_a_scenario_that_leaves_nothing_to_compare",),
    "logits that name no step": ("traces/test_trace::test_a_contract_whose_logits_are_no_step",),
    "a baseline's lockstep run in place of its free one": ("cli/test_cli_traces::test_diff",),
    "one head, channel, logit, pixel; few bits": (
        "judging/test_planted_places::test_what_passed_once_is_found_or_its_size_is_told",
    ),
    # Processes
    "a backend that reads standard input": ("running/test_process::test_there_is_nothing_to_read",),
    "a backend that sleeps": ("running/test_process::test_what_is_stuck_is_ended",),
    "a backend that forks and crashes": ("running/test_process::test_a_child_of_a_backend_holds_nobody",),
    "a harness that is killed while a worker is stuck": ("running/test_process::test_a_worker_ends_with_its_harness",),
    "folders of runs that were killed": (
        "running/test_kills::test_nothing_half_done_is_left",
        "test_scratch::test_what_a_killed_run_left_goes_with_the_next",
        "test_scratch::test_a_run_that_died_before_its_lock",
        "test_scratch::test_a_run_that_died_while_it_removed_its_folder",
    ),
    "an early interrupt": ("cli/test_cli::test_signals_end_it_in_order",),
    "golden update beside a leftover": (
        "golden/test_store::test_death_at_every_operation",
        "golden/test_store::test_what_a_dead_update_left_does_not_come_back",
    ),
    # One line, please
    "a full disk": ("bad_input/test_streams::test_a_full_disk",),
    "JSON that is deep": (
        "bad_input/test_json::test_spoilt_json[config-deep-list]",
        "bad_input/test_json::test_spoilt_json[processor-deep-list]",
        "bad_input/test_json::test_spoilt_json[manifest-deep-list]",
        "bad_input/test_json::test_spoilt_json[contract-deep-list]",
        "bad_input/test_json::test_spoilt_json[report-deep-list]",
        "bad_input/test_json::test_spoilt_json[golden-deep-list]",
        "bad_input/test_json::test_spoilt_json[scores-deep-list]",
        "bad_input/test_records::test_traces[records-deep]",
    ),
    "integers of 5,000 digits": ("bad_input/test_json::test_spoilt_json[config-digits]",),
    "1e999": ("bad_input/test_json::test_spoilt_json[config-1e999]",),
    "sketches of another length": ("bad_input/test_records::test_traces[records-sketch-short]",),
    "the folder of a user who is not there": ("bad_input/test_options::test_names[model=~nobody/x-9]",),
    "closed output, odd terminals": (
        "bad_input/test_streams::test_streams",
        "bad_input/test_streams::test_odd_sizes_of_a_terminal_are_passed_over",
    ),
    "a name that was mistyped in a candidate": (
        "bad_input/test_failing_backends::test_backends[tests.bad_input.mistyped:B]",
    ),
    "a candidate that is no place in a module": ("bad_input/test_options::test_names[candidates=../../x:B-9]",),
    "tensors of objects, texts, complex numbers; last words of megabytes": (
        "test_compare::test_a_failure_is_the_candidates_verdict",
    ),
    "names of a million characters": ("bad_input/test_records::test_traces[records-step-long]",),
    "a prompt beyond the context": (
        "bad_input/test_fields::test_admission[prompt-too-long-generate]",
        "bad_input/test_fields::test_admission[prompt-too-long-compare]",
        "implementations/gemma3n/test_dialogue::test_how_it_ended",
    ),
    # Checkpoints and inputs
    "a head of its own": ("implementations/test_found_checkpoints::TestHead::test_of_its_own",),
    "a candidate that cannot load": ("test_compare::test_a_failure_is_the_candidates_verdict",),
    "chat templates in other files": (
        "implementations/gemma3n/preprocessing/test_found_files::test_the_template_that_is_heard",
        "implementations/gemma3n/preprocessing/test_found_files::test_an_old_file_alone",
    ),
    "roles in special_tokens_map.json alone": (
        "implementations/gemma3n/preprocessing/test_found_files::test_roles_in_the_older_file_alone",
    ),
    "ids added by resizing": (
        "implementations/test_found_checkpoints::TestAddedIds::test_the_others_are_as_before",
        "implementations/test_found_checkpoints::TestAddedIds::test_they_have_no_embedding",
    ),
    "folders of MLX": (
        "implementations/test_found_checkpoints::TestMlx::test_of_few_bits",
        "bad_input/test_checkpoints::test_quantizations[mxfp4]",
    ),
    "shards without an index": (
        "implementations/test_found_checkpoints::TestShards::test_without_an_index",
        "bad_input/test_checkpoints::test_kinds[shards-missing]",
    ),
    "folders of GGUF": ("bad_input/test_checkpoints::test_kinds[gguf-folder]",),
    "folders of PEFT": (
        "bad_input/test_checkpoints::test_kinds[adapter-alone]",
        "implementations/test_found_checkpoints::TestAdapter::test_every_party_merges_it",
    ),
    "clips that are too long, and how long they are": (
        "bad_input/test_spoilt_media::test_media[audio-31-s]",
        "bad_input/test_spoilt_media::test_media[audio-a-sample-too-long]",
        "implementations/gemma3n/preprocessing/test_preprocess_oracle::test_lengths_and_limits_are_the_same_in_both",
    ),
    "refusals after a load": ("bad_input/test_fields::test_admission[model-type-unknown-compare]",),
    "greys of 16 bits": ("implementations/gemma3n/preprocessing/test_preprocess_image::test_16_bit_greys_are_scaled",),
    "pictures of 32 bits": ("bad_input/test_spoilt_media::test_media[image-32-bit]",),
    "pictures in TGA": (
        "implementations/gemma3n/preprocessing/test_preprocess_image::test_every_mode_and_format_is_the_references",
    ),
    "tokens around media in a text": (
        "implementations/gemma3n/preprocessing/test_encoding::test_ids_are_the_references",
    ),
    "another shape on purpose": ("report/test_report_terminal::test_a_shape_on_purpose_has_a_cure",),
    "a panic of a library in Rust": ("bad_input/test_checkpoints::test_tokenizers[panic]",),
}
"""Each kind, and tests of it; a row of a table by its name in brackets."""


@cache
def functions(file: str) -> frozenset[str]:
    """The names of a file's tests, those of a class behind its name."""
    found = set()
    for node in ast.parse((TESTS / f"{file}.py").read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + each.name for each in inside if isinstance(each, ast.FunctionDef)}
    return frozenset(found)


def rows(file: str, function: str) -> list[str]:
    """The names of a table's rows."""
    made = getattr(import_module(f"tests.{file.replace('/', '.')}"), function)
    return [name for mark in made.pytestmark if mark.name == "parametrize" for name in mark.kwargs["ids"]]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_held(kind):
    for test in KINDS[kind]:
        file, _, named = test.partition("::")
        function, _, row = named.partition("[")
        assert function in functions(file), test
        assert not row or row[:-1] in rows(file, function), test


def test_there_are_many():
    """Of rows alone, which take no process."""
    files = [file for file in Path(__file__).parent.glob("test_*.py") if file.stem != Path(__file__).stem]
    names = [f"bad_input/{file.stem}" for file in files]
    assert sum(len(rows(name, each)) for name in names for each in functions(name) if tabled(name, each)) >= 900


def tabled(file: str, function: str) -> bool:
    """Whether a test is of a table's rows."""
    made = getattr(import_module(f"tests.{file.replace('/', '.')}"), function)
    marks = getattr(made, "pytestmark", ())
    return any(mark.name == "parametrize" and mark.args[0] == "row" for mark in marks)
