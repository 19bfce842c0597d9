#!/bin/sh
# What it is called with, and what it finds; a target of "fail" or "error" fails, in Xen's two ways.
echo "$(basename "$0") $* $XENBUS_PATH $XENBUS_TYPE $XENBUS_BASE_PATH $vif" >> "$(dirname "$0")/hotplug.log"
[ "$1" = add ] || [ "$1" = online ] || exit 0
params=$(xenstore-read "$XENBUS_PATH/params" 2>/dev/null)
case $params in
fail) echo "no such portal" >&2; exit 3 ;;
error) xenstore-write "$XENBUS_PATH/hotplug-error" "the portal is closed" "$XENBUS_PATH/hotplug-status" error ;;
image:*) xenstore-write "$XENBUS_PATH/physical-device-path" "${params#image:}" "$XENBUS_PATH/hotplug-status" connected ;;
esac
