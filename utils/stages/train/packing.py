"""Packs an optimizer step's rows into micro-batches: part of trainer.py, with a copy beside that in the phase's folder.

It imports none of our modules.
"""

import heapq
import importlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def deal(rows: Iterable[int], lengths: Sequence[int], count: int, padded: bool) -> list[list[int]]:
    """Deal rows to `count` shares of about the same size, the longest row of each first."""
    order = sorted(rows, key=lambda row: -lengths[row])
    return halves(order, lengths, count) if padded else spread(order, lengths, count)


def shares_that_fit(
    rows: Sequence[int], lengths: Sequence[int], ranks: int, limit: int, padded: bool, micro_batches: int = 1
) -> list[list[int]]:
    """The rows of an optimizer step in shares of at most `limit` tokens, as many for each rank; some may be empty.

    Args:
        micro_batches: the fewest.
    """
    micro_batches = max(micro_batches, sum(lengths[row] for row in rows) // (limit * ranks))
    while True:
        shares = deal(rows, lengths, micro_batches * ranks, padded)
        # Ranks wait for the largest share of a micro-batch.
        shares.sort(key=lambda share: tokens_of(share, lengths, padded))
        if tokens_of(shares[-1], lengths, padded) <= limit:
            return shares
        micro_batches += 1


def halves(order: list[int], lengths: Sequence[int], count: int) -> list[list[int]]:
    """Keep rows together by length, since they are padded to the longest: halve the largest share again and again."""
    heap = [(0, order)]
    while len(heap) < count:
        _, share = heapq.heappop(heap)
        middle = len(share) // 2
        for half in (share[:middle], share[middle:]):
            heapq.heappush(heap, (-lengths[half[0]] * len(half) if len(half) > 1 else 0, half))
    return [share for _, share in heap]


def spread(order: list[int], lengths: Sequence[int], count: int) -> list[list[int]]:
    """Give each row to the smallest share."""
    shares: list[list[int]] = [[] for _ in range(count)]
    heap = [(0, number) for number in range(count)]
    for row in order:
        size, number = heap[0]
        shares[number].append(row)
        heapq.heapreplace(heap, (size + lengths[row], number))
    return shares


def tokens_of(share: Sequence[int], lengths: Sequence[int], padded: bool) -> int:
    """Tokens that a share takes on a GPU."""
    return (
        max((lengths[row] for row in share), default=0) * len(share) if padded else sum(lengths[row] for row in share)
    )


def steps_of(rows: int, batch: int, seed: int) -> Iterator[list[int]]:
    """An epoch's rows, shuffled, in optimizer steps of at most `batch` rows, all of about the same size."""
    numpy = importlib.import_module("numpy")
    order = numpy.random.default_rng(seed=seed).permutation(rows)
    return (part.tolist() for part in numpy.array_split(order, -(-rows // batch)))


def pack_every_sample(epochs: int) -> None:
    """Replace the packing of training before 0.12, which drops samples without a word.

    The library needs an average micro-batch longer than the longest sample; else it falls back to a sampler whose
    batches are cut off at max_batch_len. It also drops each epoch's last micro-batch, and without flash attention
    searches forever when the batch is the whole data set. Here an optimizer step's rows are dealt to the ranks of as
    many micro-batches as it takes for each share to fit: as many for every step, since the library counts so.
    """
    library: Any = importlib.import_module("instructlab.training.multipack_sampler")
    plan = {"batch": 0, "limit": 0, "micro_batches": 1}

    def find(
        num_gpus: int,
        avg_sample_len: float,
        effective_batch_size: int,
        max_batch_len_per_gpu: int,
        is_padding: bool,
        dataset: Any,
        seed: int,
    ) -> tuple[int, int]:
        lengths = dataset.get_lengths().tolist()
        if max(lengths) > max_batch_len_per_gpu:
            raise SystemExit(f"--max_batch_len={max_batch_len_per_gpu}, but a sample has {max(lengths)} tokens")
        plan["batch"], micro_batches = effective_batch_size, 1
        for epoch in range(epochs):
            for rows in steps_of(len(lengths), effective_batch_size, seed + epoch):
                shares = shares_that_fit(rows, lengths, num_gpus, max_batch_len_per_gpu, is_padding, micro_batches)
                micro_batches = len(shares) // num_gpus
        plan["limit"] = max_batch_len_per_gpu
        plan["micro_batches"] = micro_batches
        return max_batch_len_per_gpu, micro_batches

    def generate(self: Any, set_stats: bool = False) -> list[list[int]]:
        lengths, ranks = self.lengths.tolist(), self.num_replicas
        batches = []
        for rows in steps_of(len(lengths), plan["batch"], self.seed + self.epoch):
            shares = shares_that_fit(rows, lengths, ranks, plan["limit"], self.padding, plan["micro_batches"])
            shortest = min(rows, key=lengths.__getitem__)  # each rank needs a row
            batches += [share or [shortest] for share in shares[self.rank :: ranks]]
        return batches

    library.find_packing_max_batch_len_and_grad_accum = find
    library.MultipackDistributedBatchSampler.generate_batches = generate


def pack_in_step() -> None:
    """Replace the packing of training from 0.12 without flash attention: ranks got different numbers of micro-batches.

    Then some wait forever in the collectives of a micro-batch that the others do not have (0.16.2, 11 rows, 2 ranks).
    """

    def pack(
        batch_lengths: list[int], max_tokens_per_rank: int, num_ranks: int, rank: int, max_batch_size: int = 64
    ) -> list[list[int]]:
        rows = range(len(batch_lengths))
        shares = shares_that_fit(rows, batch_lengths, num_ranks, max_tokens_per_rank, True) if rows else []
        return [share or [-1] for share in shares[rank::num_ranks]]  # -1: a sample without a token to learn

    library: Any = importlib.import_module("instructlab.training.sampler")
    library.batch_lengths_to_minibatches_padded = pack
