from api.metrics import Metrics


def test_counts_are_rendered_by_route_and_code() -> None:
    metrics = Metrics()
    metrics.count_request("GET", "/v1/keys", 200, 0.02)
    metrics.count_request("GET", "/v1/keys", 200, 0.02)
    metrics.count_problem("quorum-not-met")
    text = metrics.render({"sealed_total": 7.0, "kedge_keyroom_up": 0.0, "queue-length": 2.0}, ready=True).decode()
    assert 'kedge_api_requests_total{method="GET",route="/v1/keys",status="200"} 2.0' in text
    assert 'kedge_api_problems_total{code="quorum-not-met"} 1.0' in text
    assert "kedge_keyroom_up 1.0" in text
    assert "kedge_keyroom_up 0.0" not in text
    assert "kedge_keyroom_sealed_total 7.0" in text
    assert "kedge_keyroom_queue_length 2.0" in text


def test_absent_keyroom_shows_as_zero() -> None:
    text = Metrics().render(None, ready=False).decode()
    assert "kedge_keyroom_up 0.0" in text
    assert "kedge_keyroom_ready 0.0" in text


def test_two_applications_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.count_problem("keyroom-down")
    assert b"keyroom-down" not in second.render(None, ready=False)
