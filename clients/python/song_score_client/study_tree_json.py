"""A study's tree as JSON, with Overture's names."""

from song.v1.study_service_pb2 import GetStudyTreeResponse

from song_score_client.exact_json import Json
from song_score_client.overture_json import render_donor, render_sample, render_specimen


def render_tree(donor: GetStudyTreeResponse, study_id: str) -> dict[str, Json]:
    """Render a whole donor: `specimens` in it, and in each of those its `samples`."""
    specimens: list[Json] = []
    for tree in donor.specimens:
        samples: list[Json] = []
        for sample in tree.samples:
            rendered = render_sample(sample, study_id)
            del rendered["specimen"], rendered["donor"]  # they stand above
            samples.append(rendered)
        specimens.append({**render_specimen(tree.specimen), "samples": samples})
    return {**render_donor(donor.donor, study_id), "specimens": specimens}
