from keras_lc.surgery.compact import to_compact as to_compact
from keras_lc.surgery.convert import to_lc as to_lc
from keras_lc.surgery.export import export as export
from keras_lc.surgery.exported import ExportedModel as ExportedModel
from keras_lc.surgery.exported import open_exported as open_exported
from keras_lc.surgery.fold import fold as fold
from keras_lc.surgery.freeze import freeze_spatial as freeze_spatial
from keras_lc.surgery.replace import replace as replace
