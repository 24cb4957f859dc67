"""A shop that reminds of forgotten carts, and exports its orders: work for later, and work that takes long."""
