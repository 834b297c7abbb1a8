"""Backpropagation, as it is defined: `tensor`, `primitive`, `backward`, in this order, and `modes`."""
