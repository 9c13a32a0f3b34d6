"""Stages: exclusive times, and nothing where nobody listens."""

import pytest

from zgrid.filters import Chain, Image, parse_steps, stages


def test_a_stage_within_another_has_its_own_time():
    """The outer clock stands while the inner one goes."""
    times = iter([0.0, 1.0, 4.0, 6.0, 10.0, 11.0])
    spent = stages.Spent(lambda: next(times))
    spent.enter("detect")
    spent.enter("decode")
    spent.leave()
    spent.leave()
    spent.enter("detect")
    spent.leave()
    assert spent.seconds == {"detect": 1.0 + 2.0 + 1.0, "decode": 3.0}
    spent.reset()
    assert spent.seconds == {}


def test_nobody_listens():
    """Without a listener a stage is nothing."""
    assert stages.listener is None
    with stages.stage(stages.DECODE), pytest.raises(KeyError):
        raise KeyError


def test_a_chain_says_where_its_time_goes(with_yunet, photograph, monkeypatch):
    """The default chain decodes, detects, draws and encodes; an error leaves no stage open."""
    spent = stages.Spent()
    monkeypatch.setattr(stages, "listener", spent)
    chain = Chain(parse_steps(["faces", "highlight"]))
    chain.run(Image("test:", photograph))
    assert set(spent.seconds) == {"decode", "detect", "draw", "encode"}
    assert all(seconds > 0 for seconds in spent.seconds.values())
    chain.run(Image("test:", photograph[: len(photograph) // 2]))
    assert spent._inside == []
