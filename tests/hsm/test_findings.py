from hsm.findings import Finding, Grade, measure


def test_grades_are_the_exit_statuses_of_doctor() -> None:
    assert [int(grade) for grade in (Grade.WELL, Grade.WARNING, Grade.FAILING, Grade.UNKNOWN)] == [0, 1, 2, 3]
    assert Finding("random", Grade.WELL, "said").figures == {}


def test_times_as_median_and_99th_percentile() -> None:
    assert measure([]) == {"count": 0}
    assert measure([7]) == {"count": 1, "p50_us": 7, "p99_us": 7}
    assert measure([*range(1, 101)]) == {"count": 100, "p50_us": 51, "p99_us": 100}
    assert measure([*range(200, 0, -1)])["p99_us"] == 199
