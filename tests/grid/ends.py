"""How every test of a fault ends: all is settled, each image has one row, each row its whole picture, and no more."""

from harness import query

from zgrid.protocol.job import State


def check_end(grid, stored, *, buried=0, charged=0, picture_bytes=None, pictures=None, strangers=0, within_s=25.0):
    """See that all jobs ended as they must. ``charged``: how many attempts may have been charged at most, in all.

    ``picture_bytes``: how long each picture is (the verb ``picture`` of the filters for tests), None for none at all.
    ``pictures``: how many images have one; by default all. ``strangers``: rows that are of no job of the ledger.
    """
    counts = grid.until_settled(stored + buried, within_s)
    found = {state: jobs for state, jobs in counts.items() if jobs}
    assert found == {state: jobs for state, jobs in {State.STORED: stored, State.BURIED: buried}.items() if jobs}
    rows = grid.rows()
    assert len(rows) == stored + strangers
    named = {picture for _, picture in rows.values() if picture}
    expected = stored if pictures is None else pictures
    assert len(named) == (0 if picture_bytes is None else expected)
    assert grid.pictures() == named, "a picture has no row, or a row no picture"
    for picture in named:
        assert (grid.pictures_folder / picture).read_bytes() == b"p" * picture_bytes, f"{picture} is not whole"
    ((failures,),) = query(grid.ledger, "SELECT coalesce(sum(failures), 0) FROM jobs")
    assert failures <= charged, f"{failures} attempts were charged"
