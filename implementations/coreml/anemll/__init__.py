"""Folders of Core ML packages that the ANEMLL converter wrote (https://github.com/Anemll/Anemll), of any model."""
