"""What the generator makes of EC2's answers. Run by `./dev limits-table --check`."""

import json
import tempfile
import unittest
from pathlib import Path

import refresh

TABLE = "# head\na1.old\t1\tnitro\t2\t4\t4\t0\t10\nb1.told\t2\tnitro\t3\t10\t10\t0\t9\n"


def shown(name="b1.told", **other):
    network = {
        "DefaultNetworkCardIndex": 0,
        "Ipv4AddressesPerInterface": 10,
        "Ipv4AddressesPerSecondaryInterface": 0,
        "Ipv6AddressesPerInterface": 10,
        "Ipv6Supported": True,
        "NetworkCards": [{"NetworkCardIndex": 0, "MaximumNetworkInterfaces": 3, "InterfaceTypes": ["interface"]}],
    }
    network.update(other.pop("network", {}))
    return {"InstanceType": name, "Hypervisor": "nitro", "BareMetal": False, "VCpuInfo": {"DefaultVCpus": 2},
            "NetworkInfo": network, **other}


def card(index, enis, *kinds):
    return {"NetworkCardIndex": index, "MaximumNetworkInterfaces": enis, "InterfaceTypes": ["interface", *kinds]}


def merged(*types, table=TABLE):
    return refresh.merged(table, [{shown["InstanceType"]: shown for shown in types}])


class Refresh(unittest.TestCase):
    def test_what_nobody_tells_stays(self):
        text, added, changed, untold = merged(shown())
        self.assertEqual((text, added, changed, untold), (TABLE, [], [], ["a1.old"]))

    def test_a_new_type_has_unknown_branches_and_a_changed_one_keeps_its_own(self):
        network = {"Ipv6Supported": False, "EfaInfo": {"MaximumEfaInterfaces": 2},
                   "NetworkCards": [card(1, 7, "efa"), card(0, 8), card(2, 7, "efa", "efa-only")]}
        told = shown(network=network, BareMetal=True, Hypervisor=None)
        text, added, changed, _ = merged(told, shown("a2.new"))
        self.assertEqual((added, changed), (["a2.new"], ["b1.told"]))
        self.assertEqual(text.splitlines()[2:], ["a2.new\t2\tnitro\t3\t10\t10\t0\t?", "b1.told\t2\tmetal\t8,2x7e\t10\t0\t2\t9"])

    def test_the_later_input_counts(self):
        inputs = [{"b1.told": shown(VCpuInfo={"DefaultVCpus": cpus})} for cpus in (4, 8)]
        self.assertIn("b1.told\t8\t", refresh.merged(TABLE, inputs)[0])

    def test_what_has_no_word_in_the_table_is_refused(self):
        for told in (
            shown(network={"DefaultNetworkCardIndex": 1}),
            shown(network={"NetworkCards": []}),
            shown(network={"NetworkCards": [card(0, 3), card(2, 3)]}),
            shown(network={"NetworkCards": [card(0, 0)]}),
            shown(network={"Ipv4AddressesPerInterface": 70000}),
            shown(network={"Ipv4AddressesPerInterface": "ten"}),
            shown(Hypervisor="other"),
            shown("b1.told\tx"),
        ):
            with self.assertRaises(refresh.Refused, msg=told):
                merged(told)
        with self.assertRaises(refresh.Refused):
            merged(shown(), table="a1.old\t1\n")

    def test_each_form_of_an_answer_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            for answer in ({"InstanceTypes": [shown()]}, [shown()], {"b1.told": shown()}):
                path = Path(folder, "answer.json")
                path.write_text(json.dumps(answer), encoding="utf-8")
                self.assertEqual(list(refresh.described(path)), ["b1.told"])
            path.write_text('{"InstanceTypes": []}', encoding="utf-8")
            with self.assertRaises(refresh.Refused):
                refresh.described(path)


if __name__ == "__main__":
    unittest.main()
