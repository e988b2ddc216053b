"""A VOI LUT of the file as a window: chosen, adjusted by hand, and told apart from a plain one."""

from dataclasses import replace

from gui_fakes import FakeReader, make_volume

from ctmasknet_gui.view.commands import same_window
from model_core.base.volume import Window

TABLE = Window(256, -472, "Bone curve", curve=bytes(range(255, -1, -1)))


def test_a_table_is_the_files_window_and_follows_the_mouse(make_rig):
    rig = make_rig(reader=FakeReader([replace(make_volume("one"), windows=(TABLE, Window(400, 40)))]))
    rig.open()
    rig.controllers.display.file_window()
    assert rig.state.display.window == TABLE
    rig.controllers.display.set_window(300.0, -450.0)
    assert rig.state.display.window == Window(300, -450, curve=TABLE.curve)
    rig.controllers.display.preset(2)
    assert rig.state.display.window.curve == b""


def test_a_table_is_another_window_than_one_of_its_width():
    assert same_window(TABLE, replace(TABLE, name="File"))
    assert not same_window(TABLE, Window(TABLE.width, TABLE.level))
