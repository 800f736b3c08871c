"""The event loop takes in one reply at a time."""

import asyncio
import socket

from funreason.policies.endpoint import event_loop as turns


def test_what_follows_from_one_reply_is_done_before_the_next_is_read():
    async def two_replies_at_once():
        loop, done = asyncio.get_running_loop(), []
        over = asyncio.Event()

        def read(name, end):
            end.recv(1)
            done.append(f"{name} read")
            loop.call_soon(follow, name)

        def follow(name):
            done.append(f"{name} used")
            if len(done) == 4:
                over.set()

        pairs = {name: socket.socketpair() for name in "ab"}
        for name, (far, near) in pairs.items():
            loop.add_reader(near, read, name, near)
            far.send(b"!")
        await asyncio.wait_for(over.wait(), 10)
        for far, near in pairs.values():
            loop.remove_reader(near)
            far.close()
            near.close()
        return done

    def kinds(done):
        return [word.split()[1] for word in done]

    assert kinds(asyncio.run(two_replies_at_once())) == ["read", "read", "used", "used"]
    assert kinds(turns.run(two_replies_at_once())) == ["read", "used", "read", "used"]


def test_a_socket_that_is_always_ready_holds_no_other_up():
    async def read_until_the_other_had_its_turn():
        loop, over, count = asyncio.get_running_loop(), asyncio.Event(), [0]
        (far, busy), (other, calm) = socket.socketpair(), socket.socketpair()

        def read_and_fill():
            busy.recv(1)
            far.send(b"!")
            count[0] += 1
            if count[0] == 1000:
                over.set()

        loop.add_reader(busy, read_and_fill)
        loop.add_reader(calm, over.set)
        far.send(b"!")
        other.send(b"!")
        await asyncio.wait_for(over.wait(), 10)
        for each in (busy, calm):
            loop.remove_reader(each)
        for each in (far, busy, other, calm):
            each.close()
        return count[0]

    assert turns.run(read_until_the_other_had_its_turn()) < 5


def test_what_a_thread_found_comes_out_as_from_any_loop():
    async def answer():
        await asyncio.to_thread(int)
        return 3

    assert turns.run(answer()) == 3
