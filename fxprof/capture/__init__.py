"""The only room with torch: from a configuration or a live pipeline to traces."""
