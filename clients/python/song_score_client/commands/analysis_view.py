"""One analysis, drawn for people."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text
from song.v1.analysis_pb2 import Analysis

from song_score_client.commands.output import table
from song_score_client.exact_json import dump, parse_object
from song_score_client.overture_json import render_file, state_name

_TIME = "%Y-%m-%d %H:%M:%S UTC"


def view_analysis(analysis: Analysis) -> RenderableType:
    """Draw its heading, files, samples, dynamic data and history."""
    kind = analysis.analysis_type
    heading = Text(
        f"study {analysis.study_id}   type {kind.name} {kind.version}   {state_name(analysis.state)}\n"
        f"submitted {analysis.create_time.ToDatetime().strftime(_TIME)}"
    )
    parts: list[RenderableType] = [heading, _files(analysis)]
    if analysis.samples:
        parts.append(_samples(analysis))
    dynamic = parse_object(analysis.data_json)
    if dynamic:
        parts.append(Text(dump(dynamic)))
    if analysis.state_changes:
        parts.append(_history(analysis))
    return Panel(Group(*parts), title=Text(f"analysis {analysis.analysis_id}"), title_align="left")


def _files(analysis: Analysis) -> RenderableType:
    rows = [
        (file.file_name, f"{file.size_bytes:,}", file.md5, str(render_file(file)["fileAccess"]), file.object_id)
        for file in analysis.files
    ]
    return table(["file", "bytes", "MD5", "access", "object id"], rows)


def _samples(analysis: Analysis) -> RenderableType:
    rows = [
        (
            sample.submitter_sample_id,
            sample.sample_type,
            sample.specimen.submitter_specimen_id,
            sample.specimen.tumour_normal_designation,
            sample.donor.submitter_donor_id,
        )
        for sample in analysis.samples
    ]
    return table(["sample", "type", "specimen", "designation", "donor"], rows)


def _history(analysis: Analysis) -> RenderableType:
    rows = [
        (
            change.update_time.ToDatetime().strftime(_TIME),
            f"{state_name(change.initial_state)} → {state_name(change.updated_state)}",
            change.actor,
        )
        for change in analysis.state_changes
    ]
    return table(["when", "change", "by"], rows)
