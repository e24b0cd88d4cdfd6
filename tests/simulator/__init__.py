"""The lanes and operators of the runtime against a Kafka made of lists, in virtual time, by seed.

    loop.py         an event loop whose order and time come from a seeded generator; processes
                    that vanish or stand still at any await
    kafka.py        topics, transactions, committed offsets, as a broker keeps them
    client.py       topologies.runtime.ports over it, with lost, late and unanswered requests
    group.py        a consumer group with generations; what Faust does for the host
    schedule.py     what goes wrong and when, as data: drawn from a seed, printed, shrunk
    feeding.py      what comes in
    trouble.py      what the events of a schedule do
    resets.py       where a person has set the group, and what was before
    world.py        one run: workers, their supervisor, inputs, trouble, quiet
    properties.py   what must hold after it
    mutants.py      protocol violations, each of which must be noticed

``python -m tests.simulator --seeds 10000`` runs many; ``--seed N`` shows one.
"""
