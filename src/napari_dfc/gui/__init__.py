"""Everything that knows Qt, magicgui or napari."""
