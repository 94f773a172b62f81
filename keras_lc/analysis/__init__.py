from keras_lc.analysis.plots import plot_curves as plot_curves
from keras_lc.analysis.plots import plot_filters as plot_filters
