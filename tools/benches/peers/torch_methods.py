"""Methods in torch, of lightly's heads and losses: see `training`; and lightly's Sinkhorn: see `methods`."""

import contextlib

import inputs
import torch
import torch_networks
from lightly import loss as losses
from lightly.loss import swav_loss
from lightly.models import utils
from lightly.models.modules import heads


def embedder(method, encoder, size):
    """Encoder and projector."""
    features = 2048 if encoder == "resnet50" else 512
    head = torch_networks.head("projector", features, inputs.HEADS[method]["projector"])
    return torch.nn.Sequential(torch_networks.resnet(encoder, size), head)


def predictor(method):
    """The head that predicts the projection of the other view."""
    width = inputs.HEADS[method]["projector"].widths[-1]
    return torch_networks.head("predictor", width, inputs.HEADS[method]["predictor"])


class Method:
    """A network that is trained, its loss, and what follows an update.

    Args:
        method: name in `inputs.HEADS`.
        encoder: name of a ResNet.
        size: height and width of the images.
        device: where to compute.
        order: memory format of weights and images.
        compiled: whether the networks are compiled.
        passes: 1 if both views pass the network together, 2 if each has statistics of its own; None for the method's.
    """

    default_passes = 2

    def __init__(self, method, encoder, size, device, order, compiled=False, passes=None):
        self.method, self.device, self.order, self.compiled = method, device, order, compiled
        self.passes = passes or self.default_passes
        self.network = self.make(encoder, size)
        self.forward = self.placed(self.network)

    def make(self, encoder, size):
        """The network; also makes what the loss needs."""
        raise NotImplementedError

    def placed(self, network):
        """Puts a network in its place, and returns the function to call."""
        network.train().to(self.device, memory_format=self.order)
        return torch.compile(network) if self.compiled else network

    def optimizer(self):
        """Momentum SGD of all trained weights."""
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        return torch.optim.SGD(weights, lr=inputs.RATE, momentum=inputs.MOMENTUM)

    def outputs(self, first, second):
        """Outputs of the network for both views."""
        if self.passes == 1:
            return self.forward(torch.cat([first, second])).chunk(2)
        return self.forward(first), self.forward(second)

    def criterion(self, *outputs):
        """The loss of these outputs."""
        raise NotImplementedError

    def loss(self, first, second, lower=contextlib.nullcontext):
        """The loss of a batch; the networks compute in the precision of the context `lower`."""
        with lower():
            outputs = self.outputs(first, second)
        return self.criterion(*(output.float() for output in outputs))

    def updated(self):
        """Follows the update of the weights."""


class SimCLR(Method):
    """NT-Xent."""

    default_passes = 1

    def make(self, encoder, size):
        """Encoder and projector."""
        self.nt_xent = losses.NTXentLoss(temperature=inputs.TEMPERATURES["simclr"])
        return embedder("simclr", encoder, size)

    def criterion(self, *outputs):
        """Lightly's loss."""
        return self.nt_xent(*outputs)


class _Scores(torch.nn.Module):
    def __init__(self, network, prototypes):
        super().__init__()
        self.network, self.prototypes = network, prototypes

    def forward(self, images):
        return self.prototypes(torch.nn.functional.normalize(self.network(images), dim=1))


class SwAV(Method):
    """Swapped assignments."""

    default_passes = 1

    def make(self, encoder, size):
        """Encoder, projector and prototypes."""
        width = inputs.HEADS["swav"]["projector"].widths[-1]
        prototypes = heads.SwaVPrototypes(width, inputs.PROTOTYPES)
        prototypes.heads[0].bias = None  # the paper has none
        prototypes.heads[0].weight.data = torch.from_numpy(inputs.prototypes(width))
        settings = {"sinkhorn_iterations": inputs.ITERATIONS, "sinkhorn_epsilon": inputs.EPSILON}
        self.swapped = losses.SwaVLoss(temperature=inputs.TEMPERATURES["swav"], **settings)
        return _Scores(embedder("swav", encoder, size), prototypes)

    def criterion(self, *outputs):
        """Lightly's loss, without small crops and queue."""
        return self.swapped(list(outputs), [])

    def updated(self):
        """Scales the prototypes to unit length."""
        self.network.prototypes.normalize()


class _Both(torch.nn.Module):
    def __init__(self, network, head):
        super().__init__()
        self.network, self.head = network, head

    def forward(self, images):
        projection = self.network(images)
        return projection, self.head(projection)


class SimSiam(Method):
    """Predictions of the other view's projection."""

    def make(self, encoder, size):
        """Encoder, projector and predictor."""
        self.cosine = losses.NegativeCosineSimilarity()
        return _Both(embedder("simsiam", encoder, size), predictor("simsiam"))

    def outputs(self, first, second):
        """Projection and prediction of either view."""
        return *self.forward(first), *self.forward(second)

    def criterion(self, *outputs):
        """The mean of both directions."""
        z0, p0, z1, p1 = outputs
        return 0.5 * (self.cosine(p0, z1.detach()) + self.cosine(p1, z0.detach()))


class BYOL(Method):
    """Predictions of the other view's projection by a target network."""

    def make(self, encoder, size):
        """Encoder, projector and predictor; also makes the target network, which begins with the same weights."""
        self.cosine = losses.NegativeCosineSimilarity()
        self.slow = embedder(self.method, encoder, size)
        self.target = self.placed(self.slow)
        return torch.nn.Sequential(*embedder(self.method, encoder, size), predictor(self.method))

    def outputs(self, first, second):
        """The predictions, then the targets."""
        with torch.no_grad():
            targets = self.target(first), self.target(second)
        return self.forward(first), self.forward(second), *targets

    def criterion(self, *outputs):
        """The paper's loss: squared distances, the sum of both directions."""
        p0, p1, z0, z1 = outputs
        return 4 + 2 * (self.cosine(p0, z1) + self.cosine(p1, z0))

    def updated(self):
        """Moves the target network."""
        utils.update_momentum(self.network[:2], self.slow, inputs.MOMENTA[self.method])


class MoCoV3(BYOL):
    """Predictions against the projections of the batch by a target network; lightly has no such loss."""

    def criterion(self, *outputs):
        """InfoNCE times twice the temperature, the sum of both directions."""
        p0, p1, z0, z1 = (torch.nn.functional.normalize(output, dim=1) for output in outputs)
        temperature = inputs.TEMPERATURES["moco_v3"]
        labels = torch.arange(len(p0), device=p0.device)
        both = [torch.nn.functional.cross_entropy(q @ k.T / temperature, labels) for q, k in ((p0, z1), (p1, z0))]
        return 2 * temperature * sum(both)


METHODS = {"simclr": SimCLR, "swav": SwAV, "byol": BYOL, "simsiam": SimSiam, "moco_v3": MoCoV3}


def sinkhorn(batch):
    """Lightly's assignments for both views."""
    given = [torch.from_numpy(scores) for scores in inputs.scores(batch)]

    def run():
        return [swav_loss.sinkhorn(scores, inputs.ITERATIONS, inputs.EPSILON).numpy() for scores in given]

    return run, lambda found: inputs.assigned(*found)
