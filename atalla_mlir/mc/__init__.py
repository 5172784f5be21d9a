"""Machine code: encoding, decoding, assembly text and the image files of the existing emulator."""
