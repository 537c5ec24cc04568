"""What the published Python tools give for a package and DICOM files: pydicom, PyTorch, torchvision, timm, MONAI, transformers.
overread's results are compared with it; it shares no line with overread."""
