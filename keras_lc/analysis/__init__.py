from keras_lc.analysis.linear_combinations import LCRate as LCRate
from keras_lc.analysis.linear_combinations import lc_rate as lc_rate
from keras_lc.analysis.plots import plot_curves as plot_curves
from keras_lc.analysis.plots import plot_filters as plot_filters
