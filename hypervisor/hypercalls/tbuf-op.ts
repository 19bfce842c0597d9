// sysctl's tbuf_op: control of the trace buffers. Xen: public/sysctl.h, xen_sysctl_tbuf_op.
import {
  setU64,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_SYSCTL_TBUFOP_disable,
  XEN_SYSCTL_TBUFOP_enable,
  XEN_SYSCTL_TBUFOP_get_info,
  XEN_SYSCTL_TBUFOP_set_cpu_mask,
  XEN_SYSCTL_TBUFOP_set_evt_mask,
  XEN_SYSCTL_TBUFOP_set_size,
  xen_sysctl_tbuf_op,
} from '#pvbus';
import { GuestBitmap } from '../affinity.ts';
import type { Domain } from '../domain.ts';
import type { Trace } from '../trace.ts';

/** `op` is a private copy of the caller's argument, the operation's own part of which is at `u`. */
export function tbufOp(trace: Trace, caller: Domain, op: DataView, u: number, nrCpus: number): number {
  const { at } = xen_sysctl_tbuf_op;
  switch (op.getUint32(u + at.cmd, true)) {
    case XEN_SYSCTL_TBUFOP_get_info: {
      const { mfn, bytes } = trace.buffers.info;
      op.setUint32(u + at.evt_mask, trace.buffers.eventMask, true);
      setU64(op, u + at.buffer_mfn, mfn);
      op.setUint32(u + at.size, bytes, true);
      return 0;
    }
    case XEN_SYSCTL_TBUFOP_set_cpu_mask: {
      const bitmap = new GuestBitmap(caller, op, u + at.cpu_mask);
      if (!bitmap.isNull && !bitmap.reachable) return -XEN_EFAULT;
      trace.setCpuMask(bitmap.isNull ? [] : bitmap.read(nrCpus));
      return 0;
    }
    case XEN_SYSCTL_TBUFOP_set_evt_mask:
      trace.setEventMask(op.getUint32(u + at.evt_mask, true));
      return 0;
    case XEN_SYSCTL_TBUFOP_set_size:
      return trace.buffers.setSize(op.getUint32(u + at.size, true));
    case XEN_SYSCTL_TBUFOP_enable:
      return trace.enable();
    case XEN_SYSCTL_TBUFOP_disable:
      trace.disable();
      return 0;
    default:
      return -XEN_EINVAL;
  }
}
