"""The bundled vendors, each written exactly as a third party would write it."""
