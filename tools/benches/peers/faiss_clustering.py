"""K-means in faiss: see `methods`."""

import faiss
import inputs


def kmeans(rows, width, count):
    """As many iterations as ours at most, from random embeddings, too."""
    embeddings = inputs.clustered(rows, width)

    def run():
        model = faiss.Kmeans(width, count, niter=20, seed=0)
        model.train(embeddings)
        return model.centroids, model.index.search(embeddings, 1)[1][:, 0]

    return run, lambda found: [inputs.spread(embeddings, *found)]
