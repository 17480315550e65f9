"""The least number that does, asked for a few times."""

from hypothesis import given
from hypothesis import strategies as st

from compress.quantization.search import fewest


@given(st.integers(0, 70), st.integers(1, 80))
def test_the_least_number_that_does_is_found_with_few_questions(most, wanted):
    asked = []

    def does(number):
        asked.append(number)
        return number >= wanted

    assert fewest(most, does) == (wanted if wanted <= most else None)
    assert len(asked) == len(set(asked)) <= 14
    assert all(1 <= number <= most for number in asked)
