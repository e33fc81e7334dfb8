"""Recurrent networks on images in JAX and Flax: exact, resumable, comparable."""
