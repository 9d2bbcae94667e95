"""ListAnalysisHistory, on every database."""

from pathlib import Path

from song.v1 import analysis_service_pb2

from tests.song_grpc.world import SERVICE_TOKEN, World, payload, refusal, running

A = analysis_service_pb2.HistoryAction


def test_the_history_tells_all_that_happened_oldest_first(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    world.score.hold(world.get(study_id, analysis_id))
    world.patch(study_id, analysis_id, {"x": 1}, reason="one")
    world.publish(study_id, analysis_id, reason="two")
    world.publish(study_id, analysis_id, reason="nothing happens")
    world.unpublish(study_id, analysis_id)
    world.update(
        study_id, analysis_id, {"analysisType": {"name": "sequencingRead"}, "experiment": {"libraryStrategy": "WXS"}}
    )
    world.suppress(study_id, analysis_id, reason="é")

    answer = world.history(study_id, analysis_id)

    assert [(entry.action, entry.reason, entry.state) for entry in answer.entries] == [
        (A.HISTORY_ACTION_SUBMIT, "", 1),
        (A.HISTORY_ACTION_PATCH, "one", 1),
        (A.HISTORY_ACTION_PUBLISH, "two", 2),
        (A.HISTORY_ACTION_UNPUBLISH, "", 1),
        (A.HISTORY_ACTION_UPDATE, "", 1),
        (A.HISTORY_ACTION_SUPPRESS, "é", 3),
    ]
    assert {entry.actor for entry in answer.entries} == {"development"}
    times = [entry.time.ToNanoseconds() for entry in answer.entries]
    assert times == sorted(times)
    analysis = world.get(study_id, analysis_id)
    assert [change.update_time for change in analysis.state_changes] == [
        answer.entries[place].time for place in (2, 3, 5)
    ]
    assert (analysis.create_time, analysis.update_time) == (answer.entries[0].time, answer.entries[-1].time)
    assert answer.next_page_token == ""


def test_pages_of_a_history_are_whole_and_their_tokens_belong_to_it(world: World, study_id: str) -> None:
    analysis_id, other = (world.submit(study_id, payload(study_id)) for _ in range(2))
    for number in range(6):
        world.patch(study_id, analysis_id, {"x": number}, reason=str(number))

    reasons, token, sizes = [], "", []
    while True:
        page = world.history(study_id, analysis_id, page_size=3, page_token=token)
        reasons += [entry.reason for entry in page.entries]
        sizes.append(len(page.entries))
        token = page.next_page_token
        if not token:
            break

    assert (reasons, sizes) == (["", *"012345"], [3, 3, 1])
    token = world.history(study_id, analysis_id, page_size=3).next_page_token
    for fields in ({"page_token": "x"}, {"page_size": -1}, {"page_size": 1001}):
        refused = refusal(lambda fields=fields: world.history(study_id, analysis_id, **fields))  # type: ignore[misc] # mypy can't infer such a lambda
        assert refused.reason == "MALFORMED_PARAMETER"
    assert refusal(lambda: world.history(study_id, other, page_token=token)).reason == "MALFORMED_PARAMETER"


def test_there_is_no_history_of_what_is_not_there(world: World, study_id: str) -> None:
    analysis_id = world.submit(study_id, payload(study_id))
    for study, wanted in ((world.new_study(), analysis_id), (study_id, "nowhere"), ("", "")):
        refused = refusal(lambda study=study, wanted=wanted: world.history(study, wanted))  # type: ignore[misc] # mypy can't infer such a lambda
        assert refused.reason == "ANALYSIS_ID_NOT_FOUND"


def test_who_may_not_read_the_study_learns_what_but_not_who_and_why(folder: Path) -> None:
    with running(
        folder, auth="on", api_key_url="http://127.0.0.1:1/introspect", auth_client_id="c", auth_client_secret="s"
    ) as anyone:
        world = anyone.calling_with(SERVICE_TOKEN)
        study_id = world.new_study()
        analysis_id = world.submit(study_id, payload(study_id))
        assert refusal(lambda: anyone.history(study_id, analysis_id)).reason == "ANALYSIS_ID_NOT_FOUND"
        world.score.hold(world.get(study_id, analysis_id))
        world.publish(study_id, analysis_id, reason="a patient asked")

        (_, known), (_, shown) = (w.history(study_id, analysis_id).entries for w in (world, anyone))

        assert (known.actor, known.reason) != ("", "")
        assert (shown.action, shown.time, shown.state) == (known.action, known.time, known.state)
        assert (shown.actor, shown.reason, list(shown.subjects)) == ("", "", [])
        for found in (anyone.get(study_id, analysis_id), anyone.list(study_id).analyses[0]):
            (change,) = found.state_changes
            assert (change.actor, change.reason, change.update_time) == ("", "", known.time)
        assert world.get(study_id, analysis_id).state_changes[0].reason == "a patient asked"
        world.patch(study_id, analysis_id, {"x": 1})
        assert list(world.history(study_id, analysis_id).entries[-1].subjects) == ["sequencingRead version 1"]
        assert list(anyone.history(study_id, analysis_id).entries[-1].subjects) == []
