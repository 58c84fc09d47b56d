"""Exemplar, UniMoCo, SupCon, SwAV, PCL and BYOL in NumPy float64, written from the papers, an image at a time."""

import numpy as np


def exemplar(query, key, queue, labels, queue_labels, temperature):
    """Zhao et al. (2020): the denominator holds the own key and the keys of other classes."""
    losses = []
    for q, k, label in zip(query, key, labels, strict=True):
        own = np.exp(q @ k / temperature)
        others = [
            np.exp(q @ z / temperature)
            for z, other in zip(queue, queue_labels, strict=True)
            if label < 0 or other != label
        ]
        losses.append(-np.log(own / (own + np.sum(others))))
    return np.array(losses)


def unified(query, key, queue, labels, queue_labels, temperature):
    """Dai et al. (2021): log(1 + the sum of exp(s) of the negatives times the sum of exp(-s) of the positives)."""
    losses = []
    for q, k, label in zip(query, key, labels, strict=True):
        positives, negatives = [q @ k / temperature], []
        for z, other in zip(queue, queue_labels, strict=True):
            (positives if label >= 0 and other == label else negatives).append(q @ z / temperature)
        losses.append(np.log(1 + np.exp(negatives).sum() * np.exp(-np.array(positives)).sum()))
    return np.array(losses)


def sup_con(a, b, labels, temperature):
    """Khosla et al. (2020), Eq. 2, the mean of the two anchors of every image."""
    z, count = np.concatenate([a, b]).astype(np.float64), len(a)
    losses = np.zeros(2 * count)
    for i in range(2 * count):
        others = [j for j in range(2 * count) if j != i]
        partition = sum(np.exp(z[i] @ z[j] / temperature) for j in others)
        positives = [
            j
            for j in others
            if j % count == i % count or (labels[i % count] >= 0 and labels[j % count] == labels[i % count])
        ]
        losses[i] = -np.mean([np.log(np.exp(z[i] @ z[p] / temperature) / partition) for p in positives])
    return (losses[:count] + losses[count:]) / 2


def sinkhorn(scores, epsilon, iterations):
    """Caron et al. (2020), Appendix A, which scales the whole matrix: prototypes, then images."""
    q = np.exp(scores.T.astype(np.float64) / epsilon)  # [K, N]
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * q.shape[0]
        q /= q.sum(axis=0, keepdims=True) * q.shape[1]
    return (q * q.shape[1]).T


def swapped_prediction(scores, codes, temperature):
    """Caron et al. (2020), Eq. 2."""
    losses = []
    for score, code in zip(scores.astype(np.float64) / temperature, codes, strict=True):
        probability = np.exp(score) / np.exp(score).sum()
        losses.append(-np.sum(code * np.log(probability)))
    return np.array(losses)


def proto_nce(query, centers, concentrations, cluster, drawn):
    """Li et al. (2020), Eq. 11, one clustering, with the drawn clusters as negatives."""
    losses = []
    for q, own in zip(query, cluster, strict=True):
        right = np.exp(q @ centers[own] / concentrations[own])
        wrong = sum(np.exp(q @ centers[j] / concentrations[j]) for j in drawn if j != own)
        losses.append(-np.log(right / (right + wrong)))
    return np.array(losses)


def concentrations(embeddings, centers, cluster, temperature):
    """Li et al. (2020), Eq. 12, and what the authors' code does with small and extreme clusters."""
    spread = np.zeros(len(centers))
    for c, center in enumerate(centers):
        members = embeddings[cluster == c]
        if len(members) > 1:
            spread[c] = np.mean([np.linalg.norm(z - center) for z in members]) / np.log(len(members) + 10)
    spread[[np.sum(cluster == c) <= 1 for c in range(len(centers))]] = spread.max()
    spread = spread.clip(np.percentile(spread, 10), np.percentile(spread, 90))
    return temperature * spread / spread.mean()
