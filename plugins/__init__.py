"""The built-in plugins. They come through the same doors as everybody's."""
