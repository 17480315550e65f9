"""Twenty words of the dialogues and the kinds they belong to: written down before any vector was looked at.

What a word's nearest neighbours ought to be. Months are no kind here: in the dialogues as stored it is always March.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

KINDS: Mapping[str, frozenset[str]] = {
    "weekdays": frozenset("monday tuesday wednesday thursday friday saturday sunday".split()),
    "numbers": frozenset("one two three four five six seven eight nine ten eleven twelve".split()),
    "food": frozenset(
        """
        italian mexican chinese thai indian japanese korean vietnamese french greek american punjabi mediterranean
        asian spanish hawaiian filipino afghan barbecue seafood pizza burger sushi ramen pasta noodles tacos tapas
        dim sum vegetarian vegan steak fusion curry dessert breakfast
        """.split()
    ),
    "cities": frozenset(
        """
        oakland berkeley fremont chicago seattle atlanta philadelphia phoenix sacramento portland vancouver washington
        london paris sydney toronto francisco angeles diego jose york vegas anaheim fresno delhi mumbai nairobi warsaw
        kuala lumpur nyc sf la sd philly chi brooklyn sunnyvale concord napa milpitas hayward livermore cupertino
        antioch petaluma pleasanton vallejo burlingame campbell brentwood fairfield saratoga alameda chennai jakarta
        marseille boston miami dallas houston denver orlando tacoma
        """.split()
    ),
    "doctors": frozenset(
        """
        dentist doctor dermatologist gynecologist ophthalmologist practitioner ent specialist physician dentists doctors
        """.split()
    ),
    "airlines": frozenset("delta united southwest alaska american airlines airline".split()),
}

TWENTY: Mapping[str, str] = {  # word -> its kind
    **dict.fromkeys(("monday", "friday", "sunday"), "weekdays"),
    **dict.fromkeys(("two", "three", "four"), "numbers"),
    **dict.fromkeys(("italian", "mexican", "chinese", "indian"), "food"),
    **dict.fromkeys(("seattle", "chicago", "oakland", "london", "paris"), "cities"),
    **dict.fromkeys(("dentist", "dermatologist", "gynecologist"), "doctors"),
    **dict.fromkeys(("delta", "southwest"), "airlines"),
}


def makes_sense(word: str, neighbours: Sequence[str]) -> bool:
    """Whether the first neighbour of one of the twenty is of its kind, and three of the first five are."""
    kind = KINDS[TWENTY[word]]
    return neighbours[0] in kind and sum(other in kind for other in neighbours[:5]) >= 3
