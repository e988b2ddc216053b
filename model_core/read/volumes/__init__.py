"""NIfTI, NRRD and MetaImage: volumes of the formats that ITK reads."""
