import asyncio
import concurrent.futures
import contextlib
import threading

import numpy as np
import pytest

from zoo.serving import batching, status

KEY = ("servable", "signature", "shapes")


class Model:
    """Doubles its input once it is let; `calls` are the rows of every call."""

    def __init__(self, let=True):
        self.calls, self.at_once, self._now = [], 0, 0
        self._let, self._lock = threading.Event(), threading.Lock()
        if let:
            self._let.set()

    def let(self):
        self._let.set()

    def __call__(self, inputs):
        with self._lock:
            self.calls.append(inputs["x"].tolist())
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        assert self._let.wait(60)
        with self._lock:
            self._now -= 1
        if "bad" in inputs["x"].tolist():
            raise ValueError("bad")
        return {"y": np.array([each * 2 for each in inputs["x"]], object)}


def run(function, observe=lambda *told: None, **settings):
    """Runs a coroutine function of a batcher."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:

        async def main():
            settled = batching.Batching(**{"num_batch_threads": 1, **settings})
            return await asyncio.wait_for(function(batching.Batcher(settled, pool, observe)), 60)

        return asyncio.run(main())


def ask(batcher, model, *values, key=KEY):
    array = np.array(values, object)
    return asyncio.ensure_future(batcher.submit(key, model, {"x": array}, len(array)))


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def busy(batcher, model):
    """Keeps the only thread busy with a first request."""
    first = ask(batcher, model, "first")
    await until(lambda: model.calls)
    return first


def values(answer):
    return answer["y"].tolist()


def test_requests_that_wait_are_joined_and_parted_again():
    model, told = Model(let=False), []

    async def main(batcher):
        first = await busy(batcher, model)
        rest = [ask(batcher, model, "a", "b"), ask(batcher, model, "c"), ask(batcher, model, "d", "e", "f")]
        await until(lambda: batcher.waiting == 6)
        model.let()
        return [values(each) for each in await asyncio.gather(first, *rest)]

    answers = run(main, lambda *arguments: told.append(arguments))
    assert answers == [["firstfirst"], ["aa", "bb"], ["cc"], ["dd", "ee", "ff"]]
    assert model.calls == [["first"], ["a", "b", "c", "d", "e", "f"]]
    assert [(key, rows) for key, rows, _ in told] == [(KEY, 1), (KEY, 6)]
    assert all(seconds >= 0 for _, _, seconds in told)


def test_a_call_has_no_more_rows_than_are_allowed_and_keeps_the_order():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        rest = [ask(batcher, model, *"ab"), ask(batcher, model, *"cde"), ask(batcher, model, *"f")]
        await until(lambda: batcher.waiting == 6)
        model.let()
        await asyncio.gather(first, *rest)

    run(main, max_batch_size=4)
    assert model.calls == [["first"], ["a", "b"], ["c", "d", "e", "f"]]


def test_a_large_request_is_cut_and_put_together():
    model = Model()

    async def main(batcher):
        return values(await ask(batcher, model, *"abcdefghij"))

    assert run(main, max_batch_size=4) == [each * 2 for each in "abcdefghij"]
    assert sorted(map(len, model.calls)) == [2, 4, 4]


def test_other_keys_are_not_joined():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        rest = [ask(batcher, model, each, key=("servable", "signature", each)) for each in "abc"]
        rest.append(ask(batcher, model, "d", key=("servable", "signature", "a")))
        rest += [asyncio.ensure_future(batcher.submit(KEY[:2], model, {"x": np.array(["e"])}, None)) for _ in range(2)]
        await until(lambda: batcher.waiting == 6)
        model.let()
        await asyncio.gather(first, *rest)

    run(main)
    assert sorted(model.calls) == [["a", "d"], ["b"], ["c"], ["e"], ["e"], ["first"]]


@pytest.mark.parametrize("kind", ["same", "shapes", "alone"])
def test_a_full_queue_refuses_and_the_rest_is_answered(kind):
    model = Model(let=False)

    def enter(batcher, index):
        if kind == "alone":
            return asyncio.ensure_future(batcher.submit(KEY[:2], model, {"x": np.array([str(index)], object)}, None))
        return ask(batcher, model, str(index), key=(*KEY[:2], index) if kind == "shapes" else KEY)

    async def main(batcher):
        first = await busy(batcher, model)
        rest = [enter(batcher, index) for index in range(6)]
        await until(lambda: batcher.waiting == 6)
        with pytest.raises(status.ServingError, match="Received: 6 rows that wait, of 6 at most") as caught:
            await enter(batcher, 6)
        assert caught.value.code == "UNAVAILABLE"
        # Another function has a queue of its own.
        other = ask(batcher, model, "other", key=("servable", "another", "shapes"))
        model.let()
        return [values(each) for each in await asyncio.gather(first, *rest, other)]

    answers = run(main, max_batch_size=3, max_enqueued_batches=2)
    assert answers == [["firstfirst"], *([str(index) * 2] for index in range(6)), ["otherother"]]


def test_who_gives_up_is_not_answered_and_takes_no_room():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        given_up, kept = ask(batcher, model, *"ab"), ask(batcher, model, "c")
        await until(lambda: batcher.waiting == 3)
        given_up.cancel()
        await until(lambda: batcher.waiting == 1)
        # Nor does anything hold the memory of what it brought.
        await until(lambda: sum(len(tasks) for _, tasks in batcher._queues.values()) == 1)
        more = ask(batcher, model, "d")
        await asyncio.sleep(0)
        model.let()
        answers = await asyncio.gather(first, kept, more)
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return [values(each) for each in answers]

    assert run(main, max_batch_size=3, max_enqueued_batches=1) == [["firstfirst"], ["cc"], ["dd"]]
    assert model.calls == [["first"], ["c", "d"]]


def test_who_gives_up_during_a_call_does_not_disturb_it():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        model.let()
        return values(await ask(batcher, model, "a"))

    assert run(main) == ["aa"]


def test_a_request_that_fails_takes_no_other_with_it():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        rest = [ask(batcher, model, each) for each in ("a", "bad", "b")]
        await until(lambda: batcher.waiting == 3)
        model.let()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    _, a, bad, b = run(main)
    assert (values(a), values(b)) == (["aa"], ["bb"])
    assert isinstance(bad, ValueError)
    assert ["a", "bad", "b"] in model.calls


def test_answers_without_the_rows_of_the_request_are_not_parted():
    """A function that sums over the batch must not tell one client of another's rows."""
    model = Model(let=False)

    def total(inputs):
        return {"y": np.array([model(inputs)["y"].sum()], object)}

    async def main(batcher):
        first = ask(batcher, total, "first")
        await until(lambda: model.calls)
        rest = [ask(batcher, total, *"ab"), ask(batcher, total, "c")]
        await until(lambda: batcher.waiting == 3)
        model.let()
        return [values(each) for each in await asyncio.gather(first, *rest)]

    assert run(main) == [["firstfirst"], ["aabb"], ["cc"]]


def test_a_batch_that_is_full_does_not_wait():
    model = Model()

    async def main(batcher):
        await asyncio.gather(*(ask(batcher, model, each) for each in "abcd"))

    run(main, max_batch_size=4, batch_timeout_micros=10**9)
    assert model.calls == [["a", "b", "c", "d"]]


def test_a_batch_that_is_not_full_waits_for_others_but_not_for_ever():
    model = Model()

    async def main(batcher):
        await asyncio.gather(ask(batcher, model, "a"), ask(batcher, model, "b"))

    run(main, batch_timeout_micros=200_000)
    assert model.calls == [["a", "b"]]


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_calls_at_one_time_as_there_are_threads(threads):
    model = Model(let=False)

    async def main(batcher):
        asked = [ask(batcher, model, str(index)) for index in range(6)]
        await until(lambda: len(model.calls) == threads and batcher.waiting == 6 - threads)
        model.let()
        await asyncio.gather(*asked)

    run(main, max_batch_size=1, num_batch_threads=threads)
    assert model.at_once == threads


@pytest.mark.parametrize(
    "settings",
    [
        {"max_batch_size": 0},
        {"max_batch_size": True},
        {"batch_timeout_micros": -1},
        {"max_enqueued_batches": 0},
        {"num_batch_threads": 1.0},
    ],
    ids=str,
)
def test_settings_that_are_none(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^Batching: expected `{name}` to be a .* integer. Received: {name}="):
        batching.Batching(**settings)


def test_a_request_is_let_in_whole_or_not_at_all():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        kept = ask(batcher, model, *"ab")
        await until(lambda: batcher.waiting == 2)
        with pytest.raises(status.ServingError, match="Received: 2 rows that wait, of 4 at most") as caught:
            await ask(batcher, model, *"cde")
        assert caught.value.code == "UNAVAILABLE" and batcher.waiting == 2
        with pytest.raises(status.ServingError, match="expected a request of at most 4 rows. Received: 5.") as caught:
            await ask(batcher, model, *"fghij")
        assert caught.value.code == "INVALID_ARGUMENT"
        model.let()
        return values(await first), values(await kept)

    assert run(main, max_batch_size=2, max_enqueued_batches=2) == (["firstfirst"], ["aa", "bb"])
    assert model.calls == [["first"], ["a", "b"]]


def test_halves_find_what_is_bad():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        rest = [ask(batcher, model, "bad" if index == 9 else str(index)) for index in range(32)]
        await until(lambda: batcher.waiting == 32)
        model.let()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    _, *rest = run(main)
    assert [isinstance(each, ValueError) for each in rest] == [index == 9 for index in range(32)]
    assert len(model.calls) <= 2 + 2 * 5


def test_requests_that_cannot_be_joined_are_answered_alone():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        rest = [ask(batcher, model, *values) for values in ("a", "b", [["c", "d"]])]
        await until(lambda: batcher.waiting == 3)
        model.let()
        return await asyncio.wait_for(asyncio.gather(first, *rest), 5)

    assert [answer["y"].shape[:1] for answer in run(main)] == [(1,)] * 4
    assert list(map(len, model.calls)) == [1] * 4


def test_small_requests_pass_between_the_parts_of_large_ones():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        large = [ask(batcher, model, *[name] * 12) for name in "ab"]
        await until(lambda: batcher.waiting == 24)
        small = [ask(batcher, model, "x"), ask(batcher, model, "y")]
        await until(lambda: batcher.waiting == 26)
        model.let()
        await asyncio.gather(first, *large, *small)

    run(main, max_batch_size=4)
    assert [set(call) for call in model.calls[:4]] == [{"first"}, {"a"}, {"b"}, {"x", "y"}]


def test_large_requests_leave_a_thread_to_small_ones():
    model = Model(let=False)

    async def main(batcher):
        large = ask(batcher, model, *["a"] * 16)
        await until(lambda: model.calls)
        small = ask(batcher, model, "x")
        await until(lambda: len(model.calls) == 2)
        assert batcher.waiting == 12
        model.let()
        await asyncio.gather(large, small)

    run(main, max_batch_size=4, num_batch_threads=2)
    assert [set(call) for call in model.calls] == [{"a"}, {"x"}, {"a"}, {"a"}, {"a"}]


def test_large_requests_have_their_turn_among_small_ones():
    model = Model(let=False)

    async def main(batcher):
        first = await busy(batcher, model)
        large = ask(batcher, model, *["a"] * 12)
        await until(lambda: batcher.waiting == 12)
        model.let()
        while not large.done():  # there is always a small one that waits
            await asyncio.wait([ask(batcher, model, "x") for _ in range(2)], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(first, large)

    run(main, max_batch_size=4)
    assert len(model.calls) < 100
