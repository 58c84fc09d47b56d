"""The methods with labels, clusters, prototypes or a predictor, at the size of tests."""

import functools

from zoo.methods import byol, exemplar, moco_v3, pcl, simsiam, sup_con, supervised, swav
from zoo.models import convnet, heads

encoder = functools.partial(convnet.convnet, widths=(4, 8))
projector = functools.partial(heads.projector, widths=(8, 4))
predictor = functools.partial(heads.predictor, width=16)
QUEUE = {"queue_size": 32, "momentum": 0.9, "bn_groups": 4, "temperature": 0.2}
METHODS = {
    "exemplar": functools.partial(exemplar.Exemplar, encoder, projector, **QUEUE),
    "unimoco": functools.partial(exemplar.Exemplar, encoder, projector, positives="class", **QUEUE),
    "pcl": functools.partial(pcl.PCL, encoder, projector, clusters=(3, 5), negatives=4, warmup_epochs=1, **QUEUE),
    "sup_con": functools.partial(sup_con.SupCon, encoder, projector, temperature=0.2),
    "supervised": functools.partial(supervised.Supervised, encoder),
    "byol": functools.partial(byol.BYOL, encoder, projector, predictor, momentum=0.9),
    "simsiam": functools.partial(simsiam.SimSiam, encoder, projector, predictor),
    "moco_v3": functools.partial(moco_v3.MoCoV3, encoder, projector, predictor, temperature=0.2, momentum=0.9),
    "swav": functools.partial(swav.SwAV, encoder, projector, prototypes=6, frozen_steps=2),
    "swav_queue": functools.partial(
        swav.SwAV, encoder, projector, prototypes=6, frozen_steps=0, queue_size=32, queue_start=1
    ),
}
