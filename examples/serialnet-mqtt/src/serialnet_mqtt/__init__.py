"""``mqtt://broker/topic``: a serial stream through an MQTT broker.

One end listens on a topic, the other connects to it; each connection has two topics of its own below that.
MQTT has no flow control from end to end, so the ends do it themselves: see :mod:`serialnet_mqtt.transport`.
"""

from .factory import MqttFactory, MqttOptions
from .transport import MqttListener, MqttTransport

__all__ = ["MqttFactory", "MqttListener", "MqttOptions", "MqttTransport"]
