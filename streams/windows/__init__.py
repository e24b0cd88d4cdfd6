"""Event-time tumbling windows: partials of each source, merged, closed by a watermark."""
