from keras_lc.training.batches import ShuffledBatches as ShuffledBatches
from keras_lc.training.lamb import LAMB as LAMB
from keras_lc.training.loss import SmoothedCrossentropy as SmoothedCrossentropy
from keras_lc.training.recipe import CIFAR as CIFAR
from keras_lc.training.recipe import Recipe as Recipe
from keras_lc.training.resume import ResumableRun as ResumableRun
from keras_lc.training.sgd import SGD as SGD
