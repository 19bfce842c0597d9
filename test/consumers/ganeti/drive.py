"""Calls the methods of ganeti's class for Xen that ganeti's node daemon calls, one after the other.

argv[1] is a JSON list of [method, arguments], argv[2] the description of the instance. What each returned is printed
as JSON, one line each; the first exception ends it.
"""

import json
import sys

sys.path.insert(0, "/usr/share/ganeti/3.0")

from ganeti import constants, objects  # noqa: E402
from ganeti.hypervisor import hv_xen  # noqa: E402

what = json.loads(sys.argv[2])

hvparams = dict(constants.HVC_DEFAULTS[constants.HT_XEN_PVM])
hvparams[constants.HV_XEN_CMD] = constants.XEN_CMD_XL
hvparams.update(what["hvparams"])
beparams = dict(constants.BEC_DEFAULTS)
beparams.update(what["beparams"])
nics = [
    objects.NIC(
        mac=nic["mac"],
        uuid=nic["mac"],
        nicparams={
            constants.NIC_MODE: constants.NIC_MODE_BRIDGED,
            constants.NIC_LINK: nic["bridge"],
            constants.NIC_VLAN: "",
        },
    )
    for nic in what["nics"]
]
instance = objects.Instance(
    name=what["name"],
    hypervisor=constants.HT_XEN_PVM,
    hvparams=hvparams,
    beparams=beparams,
    nics=nics,
    tags=[],
)
disks = [
    (objects.Disk(dev_type=constants.DT_FILE, mode=constants.DISK_RDWR,
                  logical_id=[constants.FD_LOOP, path]), path, None)
    for path in what["disks"]
]
hypervisor = hv_xen.XenPvmHypervisor()

NAMED = {
    "Verify": lambda: hypervisor.Verify(hvparams=hvparams),
    "GetNodeInfo": lambda: hypervisor.GetNodeInfo(hvparams=hvparams),
    "ListInstances": lambda: hypervisor.ListInstances(hvparams=hvparams),
    "GetInstanceInfo": lambda: hypervisor.GetInstanceInfo(instance.name, hvparams=hvparams),
    "GetAllInstancesInfo": lambda: hypervisor.GetAllInstancesInfo(hvparams=hvparams),
    "StartInstance": lambda paused=False: hypervisor.StartInstance(instance, disks, paused),
    "StopInstance": lambda **how: hypervisor.StopInstance(instance, **how),
    "RebootInstance": lambda: hypervisor.RebootInstance(instance),
    "BalloonInstanceMemory": lambda mem: hypervisor.BalloonInstanceMemory(instance, mem),
}

for method, arguments in json.loads(sys.argv[1]):
    print(json.dumps(NAMED[method](**arguments)), flush=True)
