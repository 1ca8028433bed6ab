"""The table that is made of the figures of all pairs."""

from statistics import median

from rows import grouped


def value(pair, figure):
    """Returns a figure of one pair, None where it was not measured."""
    measure, *names = figure.split("/")
    found = pair.get(measure)
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def peer_values(row, pairs):
    """Returns the peer's figure of each pair, less what ours does not do."""
    found = []
    for pair in pairs:
        figure = value(pair, row.peer) if row.peer else None
        less = value(pair, row.minus) if row.minus else 0
        if figure is not None and less is not None:
            found.append(figure - less)
    return found


def ours_values(row, pairs):
    """Returns our figure of each pair."""
    found = [value(pair, row.ours) for pair in pairs] if row.ours else []
    return [figure for figure in found if figure is not None]


def ratios(row, pairs):
    """Returns how many times as fast as the peer we were in each pair.

    >>> from rows import Row
    >>> pairs = [{"peer": {"ns": 900}, "less": {"ns": 100}, "plsim": {"ns": 40}}]
    >>> ratios(Row("packet", "ns/packet", "", "peer/ns", "", "plsim/ns", "less/ns"), pairs)
    [20.0]
    >>> pairs = [{"peer": {"rate": 2}, "plsim": {"rate": 10}}]
    >>> ratios(Row("packet", "packets/s", "", "peer/rate", "", "plsim/rate"), pairs)
    [5.0]
    """
    theirs, ours = peer_values(row, pairs), ours_values(row, pairs)
    if row.unit in ("attempts", "share refused") or len(theirs) != len(ours):
        return []
    both = zip(theirs, ours)
    return [our / their if row.is_rate() else their / our for their, our in both]


def figure_text(number, unit=""):
    """Writes a number with three digits that count.

    >>> [figure_text(number) for number in (9.876, 98.76, 987.6, 9876.0, 987654.0)]
    ['9.88', '98.8', '988', '9 880', '988 000']
    >>> figure_text(0.312, "share refused"), figure_text(70373, "attempts")
    ('31.2 %', '70 373')
    """
    if unit == "share refused":
        return f"{100 * number:.1f} %"
    if abs(number) < 10:
        return f"{number:.2f}"
    if abs(number) < 100:
        return f"{number:.1f}"
    if unit == "attempts":
        return grouped(round(number))
    digits = max(len(str(int(abs(number)))) - 3, 0)
    return grouped(round(number / 10**digits) * 10**digits)


def spread_text(numbers, unit=""):
    """Writes the median of some numbers, and their bounds if they differ.

    >>> spread_text([3.0, 1.0, 2.0]), spread_text([5.0, 5.0]), spread_text([])
    ('2.00 (1.00 - 3.00)', '5.00', '')
    """
    if not numbers:
        return ""
    middle, *bounds = (figure_text(it, unit) for it in (median(numbers), min(numbers), max(numbers)))
    return middle if bounds == [middle, middle] else f"{middle} ({bounds[0]} - {bounds[1]})"


def markdown(name, rows, pairs, skipped):
    """Writes the table of one peer; what is the same as in the line above is not written again."""
    lines = [f"| work | unit | {name} | figure | plsim | figure | times as fast |", "|---" * 7 + "|"]
    above = None
    for row in rows:
        theirs = "skipped" if skipped else spread_text(peer_values(row, pairs), row.unit)
        cells = [row.work, row.unit, row.peer_is, theirs]
        same, above = cells == above, cells
        if same:
            cells = [""] * len(cells)
        cells = [*cells, row.ours_is, spread_text(ours_values(row, pairs), row.unit)]
        lines.append("| " + " | ".join([*cells, spread_text(ratios(row, pairs))]) + " |")
    return "\n".join(lines) + "\n"


def csv_lines(name, rows, pairs):
    """Returns a line for each row and pair: both figures and their ratio."""
    for row in rows:
        for number, pair in enumerate(pairs, 1):
            columns = [peer_values(row, [pair]), ours_values(row, [pair]), ratios(row, [pair])]
            found = [f"{column[0]:.6g}" if column else "" for column in columns]
            yield [name, row.work, row.unit, row.peer_is, row.ours_is, number, *found]
