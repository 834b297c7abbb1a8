"""Data as NumPy arrays: folders of images, data sets, phantoms. Nothing here knows of tensors.

    images, transforms, loader, image_loaders    a folder of image files → pictures → arrays → batches
    grey, dicom                                  numbers that are not bytes, as grey values; DICOM files and series
    medical_mnist, radiographs, mrnet, adrenal   data sets, one file each
    phantoms                                     scans of nobody, where the real ones can't be had

Each is imported by its own name: `from tinygrad_med.data import mrnet`. So `import tinygrad_med` loads none of them.
"""
