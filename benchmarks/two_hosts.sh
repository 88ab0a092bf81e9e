#!/usr/bin/env bash
# Two "machines" that know each other by address only: network namespaces joined by a cable. As root, on Linux:  bash benchmarks/two_hosts.sh DATA
# Ten steps in double precision with one process on each, then ten steps of one process with twice the batch: the weights must agree to 1e-8.
# DATA is a folder made by hifigan-prepare.
set -euo pipefail
data=$(realpath "$1"); work=$(mktemp -d)
cleanup() { ip netns del hostA 2>/dev/null || true; ip netns del hostB 2>/dev/null || true; }
trap cleanup EXIT
cleanup
ip netns add hostA; ip netns add hostB
ip link add cableA netns hostA type veth peer name cableB netns hostB
ip -n hostA addr add 10.77.0.1/24 dev cableA; ip -n hostA link set cableA up; ip -n hostA link set lo up
ip -n hostB addr add 10.77.0.2/24 dev cableB; ip -n hostB link set cableB up; ip -n hostB link set lo up

python - "$work" <<'PY'
import sys
from dataclasses import replace
from hifigan_ruslan.config import TINY, save_config
two = replace(TINY, upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=5)
save_config(two, f'{sys.argv[1]}/two.json'); save_config(replace(two, batch_size=4), f'{sys.argv[1]}/one.json')
PY
train() { echo "--no-python hifigan-train $data $work/run_two --config $work/two.json --steps 10 --precision fp64 --device cpu --log_every 5"; }
host() { # host NAME RANK CABLE ADDRESS; is_host: the namespaces share one host name, so the first cannot see by itself that the address is its own
    ip netns exec "$1" env GLOO_SOCKET_IFNAME="$3" OMP_NUM_THREADS=1 python -m torch.distributed.run --nnodes 2 --node_rank "$2" --nproc_per_node 1 \
        --rdzv_backend c10d --rdzv_endpoint 10.77.0.1:29500 --rdzv_conf is_host=$((1-$2)) --local_addr "$4" $(train)
}
host hostA 0 cableA 10.77.0.1 & first=$!
host hostB 1 cableB 10.77.0.2 > "$work/b.log" 2>&1 || { cat "$work/b.log"; exit 1; }
wait "$first"
OMP_NUM_THREADS=1 hifigan-train "$data" "$work/run_one" --config "$work/one.json" --steps 10 --precision fp64 --device cpu --log_every 5 > /dev/null
python - "$work" <<'PY'
import sys
from hifigan_ruslan.checkpoint import load_checkpoint
two, one = (load_checkpoint(f'{sys.argv[1]}/{o}/checkpoints/last.pt')[0] for o in ('run_two', 'run_one'))
differ = {k: max((a-b).abs().max().item() for a,b in zip(two.networks()[k].state_dict().values(), m.state_dict().values())) for k,m in one.networks().items()}
assert two.step==one.step==10 and all(d<1e-8 for d in differ.values()), differ
print('two hosts, ten steps: the weights of one process with twice the batch, to', differ)
PY
