"""Which shard goes to which worker, and at which rate: decided without Dask."""

import random

import pytest

from flashback_async.dask.keys import Shard
from flashback_async.dask.placement import MOST_STRIKES, Placement


def shard(index=0):
    return Shard([(index, f"b{index}")])


def send_all(placement, limit=100):
    """Send fresh shards for as long as there is a place; return where each went."""
    sent = []
    while len(sent) < limit and (place := placement.next_place()) is not None:
        it = place.shard or shard(len(sent))
        placement.sent(place.worker, it, place.share)
        sent.append((place.worker, it, place.share))
    return sent


def test_at_most_ahead_times_the_workers_are_out():
    placement = Placement(ahead=3, rate=None)
    placement.saw(["a", "b"])
    sent = send_all(placement)
    assert sorted(worker for worker, _, _ in sent) == ["a"] * 3 + ["b"] * 3


def test_a_worker_that_comes_late_takes_part():
    placement = Placement(ahead=2, rate=None)
    placement.saw(["a"])
    send_all(placement)
    placement.saw(["a", "b"])
    assert [worker for worker, _, _ in send_all(placement)] == ["b", "b"]


def test_without_workers_there_is_no_place():
    assert Placement(ahead=2, rate=None).next_place() is None


def test_the_shards_of_a_lost_worker_go_out_again_each_alone():
    placement = Placement(ahead=2, rate=None)
    placement.saw(["a", "b"])
    lost = [it for worker, it, _ in send_all(placement) if worker == "a"]
    placement.saw(["b"])
    assert (placement.workers_lost, placement.again) == (1, 2)
    assert send_all(placement) == []  # b still has two, and must become idle
    for it in list(placement.sent_out()):
        placement.done("b", it)
    assert send_all(placement) == [("b", lost[0], None)]
    placement.done("b", lost[0])
    assert send_all(placement) == [("b", lost[1], None)]
    placement.done("b", lost[1])
    assert [it.strikes for _, it, _ in send_all(placement)] == [0, 0]


def test_a_waiting_suspect_holds_up_one_worker_and_not_all():
    placement = Placement(ahead=1, rate=None)
    placement.saw(["a", "b", "c"])
    send_all(placement)
    placement.saw(["b", "c"])
    placement.done("b", next(iter(placement._out["b"])))
    ((worker, it, _),) = send_all(placement)
    assert (worker, it.strikes) == ("b", 1)
    placement.done("c", next(iter(placement._out["c"])))
    assert [(worker, it.strikes) for worker, it, _ in send_all(placement)] == [("c", 0)]


def test_a_shard_that_brings_down_four_workers_is_condemned_and_no_other():
    placement = Placement(ahead=2, rate=None)
    poison, others = shard(0), [shard(n) for n in range(1, 12)]
    fresh, workers, deaths, done, condemned = [poison, *others], ["a", "b"], 0, [], []
    for _ in range(100):
        placement.saw(workers)
        condemned += placement.take_condemned()
        while (place := placement.next_place()) is not None and (place.shard or fresh):
            it = place.shard or fresh.pop(0)
            placement.sent(place.worker, it, None)
        for worker in list(workers):
            out = list(placement._out[worker])
            if poison in out:  # it ends, and another one comes
                deaths += 1
                workers[workers.index(worker)] = f"{worker}{deaths}"
            else:
                for it in out:
                    placement.done(worker, it)
                    done.append(it)
    assert condemned == [poison]
    assert deaths == MOST_STRIKES
    assert sorted(it.places for it in done) == [it.places for it in others]


def test_a_worker_that_refuses_gets_nothing_more_and_its_shard_has_no_strike():
    placement = Placement(ahead=1, rate=None)
    placement.saw(["a"])
    ((_, it, _),) = send_all(placement)
    placement.refused("a", it)
    assert placement.workers == 0
    assert placement.waits
    placement.saw(["a", "b"])
    assert send_all(placement) == [("b", it, None)]
    assert it.strikes == 0


def test_the_rate_is_shared_and_a_lost_share_goes_back():
    placement = Placement(ahead=1, rate=90.0)
    placement.saw(["a", "b", "c"])
    assert [share for _, _, share in send_all(placement)] == [30.0, 30.0, 30.0]
    placement.saw(["a", "b"])
    placement.take_waiting()
    placement.done("a", next(iter(placement._out["a"])))
    assert [(worker, share) for worker, _, share in send_all(placement)] == [("a", 45.0)]


def test_busy_workers_are_told_at_once_of_the_share_that_a_lost_one_leaves():
    placement = Placement(ahead=1, rate=90.0)
    placement.saw(["a", "b", "c"])
    send_all(placement)
    assert placement.take_raises() == []
    placement.done("b", next(iter(placement._out["b"])))
    placement.saw(["a", "b"])
    assert placement.take_raises() == [("a", 45.0)]  # b is told with its next shard
    assert placement.take_raises() == []
    assert [share for _, _, share in send_all(placement)] == [45.0]


def test_without_a_rate_there_is_nothing_to_tell():
    placement = Placement(ahead=1, rate=None)
    placement.saw(["a", "b"])
    send_all(placement)
    placement.saw(["a"])
    assert placement.take_raises() == []


@pytest.mark.parametrize("seed", range(20))
def test_the_shares_in_effect_never_exceed_the_rate(seed):
    choose = random.Random(seed)
    placement = Placement(ahead=2, rate=100.0)
    workers, born, effect = ["w0"], 1, {}
    for _ in range(300):
        match choose.randrange(4):
            case 0 if len(workers) < 6:
                workers.append(f"w{born}")
                born += 1
            case 1 if workers and choose.random() < 0.3:
                effect.pop(workers.pop(choose.randrange(len(workers))), None)
            case _ if out := [(w, it) for w in workers for it in placement._out.get(w, ())]:
                worker, it = choose.choice(out)
                placement.done(worker, it)
        placement.saw(workers)
        placement.take_condemned()
        effect |= placement.take_raises()
        assert sum(share for w, share in effect.items() if placement._out.get(w)) <= 100.0 + 1e-6
        effect |= {worker: share for worker, _, share in send_all(placement)}
        busy = sum(share for w, share in effect.items() if placement._out.get(w))
        assert busy <= 100.0 + 1e-6
