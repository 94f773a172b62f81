from keras_lc.distribution.batches import EvaluationBatches as EvaluationBatches
from keras_lc.distribution.batches import PartOfBatches as PartOfBatches
from keras_lc.distribution.distribute import distribute as distribute
from keras_lc.distribution.distribution import Distribution as Distribution
