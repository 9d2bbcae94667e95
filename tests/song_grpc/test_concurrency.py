"""Parallel callers, on every database."""

import grpc

from song_grpc.domain.limits import PUBLISH_ATTEMPTS
from tests.song_grpc.world import World, file, in_parallel, payload, sample


def test_of_parallel_submitters_of_the_same_bytes_one_wins(world: World, study_id: str) -> None:
    same = file()

    answers = in_parallel(
        [lambda n=n: world.submit(study_id, payload(study_id, files=[same], samples=[sample(n)])) for n in range(16)]  # type: ignore[misc] # mypy can't infer such a lambda
    )

    winners = [answer for answer in answers if isinstance(answer, str)]
    assert len(winners) == 1
    assert {answer.code() for answer in answers if not isinstance(answer, str)} == {grpc.StatusCode.ALREADY_EXISTS}
    stored = world.list(study_id, "state = UNPUBLISHED").analyses
    assert [analysis.analysis_id for analysis in stored] == winners
    assert len(world.events(winners[0])) == 1


def test_parallel_repetitions_of_one_request_make_one_analysis(world: World, study_id: str) -> None:
    sent = payload(study_id)
    answers = in_parallel([lambda: world.submit(study_id, sent, request_id="once")] * 16)
    assert len(set(answers)) == 1
    assert len(world.list(study_id, "state = UNPUBLISHED").analyses) == 1


def test_parallel_submitters_share_new_donors(world: World, study_id: str) -> None:
    answers = in_parallel(
        [lambda n=n: world.submit(study_id, payload(study_id, samples=[sample(n % 3)])) for n in range(16)]  # type: ignore[misc] # mypy can't infer such a lambda
    )
    assert all(isinstance(answer, str) for answer in answers)
    found = world.list(study_id, "state = UNPUBLISHED").analyses
    assert len({analysis.samples[0].donor.donor_id for analysis in found}) == 3


def test_parallel_changes_of_state_leave_a_history_without_gaps(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    calls = [lambda: world.publish(study_id, analysis_id), lambda: world.unpublish(study_id, analysis_id)] * 8

    answers = in_parallel(calls)

    changes = world.get(study_id, analysis_id).state_changes
    assert len(changes) == sum(answer.changed for answer in answers)
    states = [change.updated_state for change in changes]
    assert states == [(2, 1)[position % 2] for position in range(len(states))]
    actions = [event.action for event in world.events(analysis_id)]
    assert actions == ["CREATE", *(("PUBLISH", "UNPUBLISH")[position % 2] for position in range(len(states)))]
    assert PUBLISH_ATTEMPTS > 1
